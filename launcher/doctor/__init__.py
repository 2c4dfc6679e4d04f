"""`slipway doctor`: checks what keeps a training from running here."""
