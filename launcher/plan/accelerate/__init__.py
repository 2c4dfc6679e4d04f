"""Accelerate configs: from a plan to one and back, each key accounted for."""
