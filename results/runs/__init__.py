"""`slipway runs`: the list of runs, sorted and chosen as asked."""
