"""The device-agnostic training loop: the recipe decides what is learned, the plan decides how it is computed."""
