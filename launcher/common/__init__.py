"""What the launcher's rooms share: paths, ports, sizes of models."""
