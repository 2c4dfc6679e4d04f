"""From a machine to a plan, an Accelerate config and running processes. Imports no torch, and of `training` only `common`."""
