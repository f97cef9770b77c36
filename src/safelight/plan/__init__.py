"""What to run, as the user writes it."""
