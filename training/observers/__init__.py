"""What watches a run: console, journal, `run.json`, profiler. No observer changes the math or forces a device sync."""
