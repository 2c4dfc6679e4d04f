"""`slipway plan` and `config`: from a machine and what a person fixes to a plan, every choice with its reason."""
