"""`slipway track`: sends the numbers of a run to experiment trackers, from its journal."""
