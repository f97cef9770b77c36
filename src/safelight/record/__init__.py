"""What was found: the versioned record, the only judge, and the run folder. No torch here."""
