"""`slipway wizard`: plan in a conversation."""
