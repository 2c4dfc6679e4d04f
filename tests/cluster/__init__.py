"""Real hosts as namespaces of this machine, joined by a bridge, with sshd in each: what several machines do together."""
