"""What the launcher's rooms share: parsers, records as JSON, ports."""
