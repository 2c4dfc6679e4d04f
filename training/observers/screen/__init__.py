"""What a person sees of a run while it runs: a terminal, lines in a file, records for programs, or a notebook."""
