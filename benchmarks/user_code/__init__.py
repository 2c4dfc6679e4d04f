"""The programs of `tests/own_models/ours` written for other libraries: how long they are, and that they run."""
