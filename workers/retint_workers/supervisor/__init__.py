"""The whole platform on one machine: `retint up`, its processes, the demonstration."""
