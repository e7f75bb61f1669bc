"""How the networks are judged: measures, calibration rows, one module per kind of network."""
