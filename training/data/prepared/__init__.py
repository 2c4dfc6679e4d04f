"""Prepared data sets: read, split and normalised once, kept in a cache, shared by the processes of a host."""
