"""Small classifiers of the literature, one architecture a file. Inputs are normalized."""
