"""Fast inference: folded norms, reduced precision, Winograd convolutions in strips."""
