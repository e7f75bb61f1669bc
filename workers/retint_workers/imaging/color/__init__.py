"""What the code values of a photo mean: declarations of its file, ICC profiles, color spaces."""
