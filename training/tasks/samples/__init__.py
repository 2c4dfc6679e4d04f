"""The samples of data sets that people have: read, reseeded and collated in any process, with their losses and metrics."""
