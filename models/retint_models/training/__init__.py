"""How the networks are trained: one loop, one module per recipe."""
