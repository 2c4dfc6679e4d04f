"""To share a trained model: one file that other programs run, a folder with a model card for the Hub, and the way there."""
