"""Where tasks and models come from: factories in files and modules of the user, what they take, how they are found again."""
