"""Stages and epochs, evaluation, the best weights, and what survives a fault, a kill or a full disk."""
