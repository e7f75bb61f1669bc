"""How each network is trained: its hyperparameters, its loss and its training step; one file a network."""
