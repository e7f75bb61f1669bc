"""The training recipes, one file a network."""
