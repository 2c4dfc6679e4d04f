"""What is found out for a person before a training: advice, and what a model needs."""
