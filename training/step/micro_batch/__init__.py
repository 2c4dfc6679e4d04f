"""How many samples one forward pass takes: the limit, the search for the fastest, what is remembered of it."""
