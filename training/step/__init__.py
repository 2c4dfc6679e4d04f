"""One optimizer step: forward and backward passes of micro-batches, one reduction, one update."""
