"""`slipway new`: write a small project with a task, its recipe and its test."""
