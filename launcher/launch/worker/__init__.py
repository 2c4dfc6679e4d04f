"""The other side of a launch: what runs in the processes that it starts."""
