"""This process and its device, the other ranks, memory, and what ends a process."""
