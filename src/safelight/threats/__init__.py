"""How the model meets the world, one deployment a file."""
