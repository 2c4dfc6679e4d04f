"""Readers of NumPy files."""
