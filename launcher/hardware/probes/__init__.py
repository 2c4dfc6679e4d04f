"""One file per vendor or environment, each with a `detect(sources)` that returns its part of `Hardware`."""
