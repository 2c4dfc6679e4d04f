"""Readers of what trackers and published data sets of signs write."""
