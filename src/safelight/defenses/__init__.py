"""What makes a model leak less: one defense a file."""
