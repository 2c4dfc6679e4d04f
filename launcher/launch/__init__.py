"""`slipway launch` and `resume`: starts a plan, supervises it, starts it again."""
