"""The seven nodes of the loop. Their names are persisted: they never change."""
