"""What nobody can beat, with its assumptions."""
