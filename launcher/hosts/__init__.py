"""Several machines: their launchers meet, compare what they are about to start, and check that all reach each other."""
