"""Which samples each rank computes in each step, and how they are made ready."""
