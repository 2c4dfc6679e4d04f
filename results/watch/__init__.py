"""`slipway watch`: the screen of a run, from its journal."""
