"""How networks are trained: one loop for all, and one module a network."""
