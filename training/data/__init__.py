"""Landmark data: readers, splits, preprocessing, augmentation, features."""
