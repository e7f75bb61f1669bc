"""Cards of the networks; how weights files are read, checked and imported."""
