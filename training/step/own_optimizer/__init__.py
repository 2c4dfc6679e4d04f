"""Optimizers of `torch.optim` and of users, over groups of parameters."""
