"""`slipway report`: a page that shows a run, with pictures and a table beside it, made of what the run has written."""
