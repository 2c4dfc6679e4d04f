"""The launcher's side of a launch: start the processes, pass signals on, leave none behind."""
