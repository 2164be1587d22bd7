"""Files whose home is an object store: a study, a dataset; worked on in a folder of each node."""
