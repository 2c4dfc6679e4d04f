"""A run in a notebook: one table that is updated in place, and results as HTML."""
