"""Data of the tasks: landmarks from readers to the cache of prepared data, and pictures and texts with a label."""
