"""Streams: what can only be read from its beginning is written once and then read by number."""
