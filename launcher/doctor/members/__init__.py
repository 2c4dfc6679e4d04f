"""Processes that the doctor starts; each imports torch or Accelerate only when run."""
