"""Layers: what a network decides about a photo, and how it is applied. numpy only: rendering needs no torch."""
