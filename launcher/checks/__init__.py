"""What `slipway doctor` looks at: one file for each family of checks."""
