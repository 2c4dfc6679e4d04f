"""What the launcher's rooms share: parsers, paths, ports."""
