"""A trained network in the file formats of other runtimes, each checked against its source."""
