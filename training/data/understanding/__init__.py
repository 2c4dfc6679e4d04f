"""From the numbers in files to landmarks: what they are, which are missing, what is doubtful."""
