"""Stages and epochs, evaluation, the best weights, checkpoints, and what happens after bad numbers or out-of-memory."""
