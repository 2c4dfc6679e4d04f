"""Ranks that are forked from the process that asks for them, which follows them to their end."""
