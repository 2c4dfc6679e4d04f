"""How many samples one forward pass takes: the limit, the search for the fastest size, and its cache."""
