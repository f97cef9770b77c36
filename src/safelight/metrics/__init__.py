"""Pure functions that compare a claim with the truth, with direction and chance declared."""
