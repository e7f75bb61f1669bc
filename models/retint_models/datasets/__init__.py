"""Photographs, and simulated old prints of them, for training and evaluation."""
