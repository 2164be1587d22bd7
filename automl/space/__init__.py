"""What the user declares: domains, parameters, experiment files."""
