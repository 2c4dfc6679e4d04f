"""Cores that other programs use too: how the threads of an operation wait for each other, and on which cores they run."""
