"""`slipway watch`: a run's screen in another terminal, or on another machine, from the journal alone."""
