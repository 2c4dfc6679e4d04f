"""What is trained on: readers, splits, the ragged store, preprocessing and augmentation of landmark sequences."""
