"""What landmarks are: the layouts of known trackers, and skeletons that a file describes."""
