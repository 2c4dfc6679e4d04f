"""The readers of landmark data, one file each, and the choice between them."""
