"""Programs as people write them, on 1 and 2 processes, killed and resumed, against plain PyTorch loops of the same recipe."""
