"""The public Python interface: `automl.search`."""
