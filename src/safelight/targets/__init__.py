"""What is audited: networks, how they are cut, loaded and trained."""
