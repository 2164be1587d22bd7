"""Running on Ray: the only importer of ray."""
