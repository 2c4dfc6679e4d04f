"""Files on the disk: durable writes, run folders, locks, checkpoints."""
