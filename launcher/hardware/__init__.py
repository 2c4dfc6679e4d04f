"""What a machine has and what limits it: the record, the probes that fill it, `slipway detect`."""
