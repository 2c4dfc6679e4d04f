"""The program around a training: what started it, an IPython session, an error that nobody catches."""
