"""Damaged inputs: whatever stands in a file, a door gives a value or its own error, soon and in little memory."""
