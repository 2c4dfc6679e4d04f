"""Options, recipe and plan: what is learned and how it is computed, as records."""
