"""`python -m automl`: the command line."""

from automl.cli.main import main

if __name__ == "__main__":
    main()
