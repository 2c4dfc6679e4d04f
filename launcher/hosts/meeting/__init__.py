"""Where the launchers of several machines meet before any of them starts a script: at the port of machine 0."""
