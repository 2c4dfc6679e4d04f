"""Malicious files, made here, and the proof that nothing of them ran."""
