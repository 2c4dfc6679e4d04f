"""Data sets that are ready to train on: prepared once, kept in a cache, shared by the processes of a host."""
