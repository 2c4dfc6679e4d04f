"""What every room may use: a run by its name, its record and its journal. Needs no torch."""
