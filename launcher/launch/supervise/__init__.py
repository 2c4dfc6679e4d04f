"""The launcher's own side of a launch: starts processes, passes on signals, leaves none behind."""
