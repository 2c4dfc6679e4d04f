"""What a machine has and what limits it."""
