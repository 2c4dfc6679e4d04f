"""The model card of a run: what it is, how good it is, what it is for, and where it comes from."""
