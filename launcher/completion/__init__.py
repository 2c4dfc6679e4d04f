"""`slipway completion`: scripts for shells, made from the parsers."""
