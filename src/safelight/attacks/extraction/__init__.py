"""Attacks that look for training pictures in what is published, one method a file."""
