"""To use a trained model: predict, evaluate."""
