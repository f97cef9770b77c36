"""The pure functions that extraction attacks optimize, one kind a file."""
