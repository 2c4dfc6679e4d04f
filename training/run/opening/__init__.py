"""Opening the folder of a run, a new one or that of a run which is resumed, and what its record says from the start."""
