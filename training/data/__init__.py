"""Landmark data: readers, splits, normalisation, augmentation, features, and the cache of prepared data."""
