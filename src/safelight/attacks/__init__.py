"""Attacks, by what the adversary wants."""
