"""What anyone could claim without the model, and whether the attack works at all."""
