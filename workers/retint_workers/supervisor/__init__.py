"""The whole platform on one machine: `retint up`, the processes that it supervises, the demonstration."""
