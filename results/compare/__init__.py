"""`slipway compare`: runs beside each other: what differs, curves, metrics, and tests of the differences."""
