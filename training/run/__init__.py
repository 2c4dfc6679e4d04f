"""From a config to a result: the command line, the run folder that a start belongs to, the steps from data to test."""
