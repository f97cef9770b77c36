"""The first question of every certificate: is there any randomness to hide behind?"""

import torch
from torch import Tensor

from safelight.record.record import Bound


def deterministic(first: Tensor, second: Tensor) -> Bound:
    """Say that nothing can be proved, after a look at the messages [n, ...] of two equal sends.

    A deterministic edge has infinite Fisher information wherever it is injective, so no lower
    bound on a reconstruction's error exists (Maeng et al. 2023).
    """
    alike = torch.equal(first, second)
    if alike and bool((first == first[:1]).all()):
        return Bound(
            name="certificate",
            value=None,
            holds="no",
            assumptions=["the message is random given the picture"],
            detail=f"All {len(first)} pictures that were looked at send the same message, which "
            "tells nothing of them. That others do is not proved.",
        )
    return Bound(
        name="certificate",
        value=None,
        holds="no" if alike else "unknown",
        assumptions=["the message is random given the picture"],
        detail="The message is computed without randomness, so nothing can be proved about what "
        "it hides. Noise added to it would allow a bound."
        if alike
        else "The message is random, but by a noise that is not known to this audit: no bound was "
        "computed.",
    )
