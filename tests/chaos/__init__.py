"""Kills real runs at random moments and compares what they end with: `python -m tests.chaos`, or `make chaos`."""
