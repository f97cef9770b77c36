"""The first question of every certificate: is there any randomness to hide behind?"""

import torch
from torch import Tensor

from safelight.record.record import Bound


def certificate(first: Tensor, second: Tensor) -> Bound:
    """Compare the messages [n, ...] of two sends of the same pictures.

    Equal messages mean a deterministic edge: its Fisher information is infinite wherever it is
    injective, so no lower bound on a reconstruction's error exists (Maeng et al. 2023).
    """
    if torch.equal(first, second):
        return Bound(
            name="certificate",
            value=None,
            holds="no",
            assumptions=["the message is random given the picture"],
            detail="The message is computed without randomness, so nothing can be proved about "
            "what it hides. Noise added to it would allow a bound.",
        )
    return Bound(
        name="certificate",
        value=None,
        holds="unknown",
        assumptions=["the message is random given the picture"],
        detail="The message is random, but its noise is not known to this audit: no bound was "
        "computed.",
    )
