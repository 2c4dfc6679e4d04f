"""Several runs as one study: a run for each fold, each left-out value or each seed, and a table of them."""
