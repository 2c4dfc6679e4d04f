"""Which samples each rank computes in each step, and how their batches are prepared."""
