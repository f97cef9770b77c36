"""Membership scores from losses, logits, probabilities or labels; arrays in, arrays out.

A higher score means that the attacker takes the example for a member of the training set.
"""
