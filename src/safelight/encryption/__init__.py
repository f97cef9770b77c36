"""The cloud part of a cut model, computed on encrypted messages (CKKS; ``safelight[he]``)."""
