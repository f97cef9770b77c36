"""The contract of a defense of what leaves: it changes messages, and only as it says."""

from typing import ClassVar

import torch
from torch import Tensor

from safelight import catalog
from safelight.targets.release import Release, Scale


def messages(n: int = 64) -> Tensor:
    """Return messages after a rectifier [n, 6, 4, 4] with true zeros in them."""
    draw = torch.Generator().manual_seed(7)
    return torch.randn(n, 6, 4, 4, generator=draw).relu()


def probabilities(n: int = 64) -> Tensor:
    """Return answers of a classifier [n, 10]."""
    draw = torch.Generator().manual_seed(7)
    return (3 * torch.randn(n, 10, generator=draw)).softmax(1)


def sent(release: Release, computed: Tensor, seed: int = 0) -> Tensor:
    """Return what leaves in place of messages."""
    draw = torch.Generator().manual_seed(seed)
    return release.release(computed, Scale.of(computed), draw)


class ReleaseDefenseContract:
    """What every defense of what leaves keeps to, on ``computed``."""

    defense: ClassVar[Release]
    computed: ClassVar[Tensor] = messages()

    def test_changes_the_message_and_keeps_its_shape(self) -> None:
        """What leaves is another tensor of numbers; what was computed is left as it was."""
        before = self.computed.clone()
        out = sent(self.defense, self.computed)
        assert out.shape == self.computed.shape
        assert out.dtype == self.computed.dtype
        assert bool(out.isfinite().all())
        assert not torch.equal(out, self.computed)
        assert torch.equal(self.computed, before)

    def test_is_random_if_and_only_if_it_says_so(self) -> None:
        """The same seed sends the same; another one does not, where the defense is random."""
        one, again, other = (sent(self.defense, self.computed, seed) for seed in (0, 0, 1))
        assert torch.equal(one, again)
        assert torch.equal(one, other) != self.defense.random

    def test_what_is_not_hidden_is_exact_where_zeros_are_to_be_ignored(self) -> None:
        """Who ignores the zeros then has the truth, if less of it."""
        out = sent(self.defense, self.computed)
        if self.defense.hides:
            kept = out != 0
            assert torch.equal(out[kept], self.computed[kept])
            assert bool((~kept & (self.computed != 0)).any())

    def test_options_survive_the_catalog(self) -> None:
        """What a plan says is what runs."""
        name = catalog.name_of(self.defense)
        given = {key: getattr(self.defense, key) for key in catalog.options(type(self.defense))}
        assert catalog.build("defense", name, given) == self.defense

    def test_names_its_source(self) -> None:
        """The paper can be cited."""
        reference: catalog.Reference = catalog.load(
            "defense", catalog.name_of(self.defense)
        ).reference
        assert reference.bibtex().startswith("@misc{")
