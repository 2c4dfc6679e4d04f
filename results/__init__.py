"""What is done with a run: look at it, use it. Neither the launcher nor the training imports it."""
