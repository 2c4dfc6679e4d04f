"""The page of an inspection: one HTML file without scripts and without anything from elsewhere."""
