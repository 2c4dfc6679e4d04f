"""What a trained model takes, read from files, and what it says of it: clips, pictures, texts, samples of a task."""
