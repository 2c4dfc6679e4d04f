"""Data without a training: `slipway data` shows what was understood of them, converts them, and records new ones."""
