"""`slipway launch`, `runs` and `resume`: starts a plan, supervises it, starts it again."""
