"""Accelerators of each vendor: what there is, from the system's files or the vendor's own library."""
