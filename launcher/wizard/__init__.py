"""`slipway wizard`: plans in a conversation."""
