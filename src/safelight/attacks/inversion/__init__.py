"""Inversion: rebuild the picture that a device is sending right now."""
