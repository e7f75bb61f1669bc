"""What makes inference fast: folded norms, reduced precision, Winograd convolutions in strips."""
