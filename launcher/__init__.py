"""Machine -> plan -> Accelerate config -> process group. Imports nothing from `training` and no torch."""
