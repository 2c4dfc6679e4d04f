"""Whole trainings in places where something fails: `python -m tests.chaos.faults`."""
