"""Sign recognition from landmark sequences: its options, stages, encoder, and the use of a trained one."""
