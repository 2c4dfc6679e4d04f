"""What is on the disk: durable files, run folders, locks, checkpoints."""
