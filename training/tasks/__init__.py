"""What is trained: a `Task` is a model, data sets, a loss for each sample and metrics."""
