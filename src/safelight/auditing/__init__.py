"""The audit: every threat meets every attack that fits it, with controls beside."""
