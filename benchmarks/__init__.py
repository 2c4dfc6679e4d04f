"""Side-by-side measurements, and the exactness contract in full."""
