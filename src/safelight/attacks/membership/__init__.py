"""Was this picture in the training set? Attacks on the answers of a model."""
