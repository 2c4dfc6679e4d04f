"""The processes that the doctor starts. Only these import torch or Accelerate, when they run."""
