"""Pictures, and who may see them."""
