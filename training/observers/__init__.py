"""What watches a run: the console and the journal. Observers never touch the math and never force a device sync."""
