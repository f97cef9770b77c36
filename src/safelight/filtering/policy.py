"""What a filter decides by: thresholds, how they were found, and what they were measured to do."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

#: Raised whenever a reader of an older version would misread a newer file.
SCHEMA_VERSION = 1

Decision = Literal["allow", "review", "block"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Rule(_Frozen):
    """One distance and its thresholds: below ``block`` blocks, below ``review`` asks a person."""

    name: str
    block: float
    review: float


class PictureFacts(_Frozen):
    """A set of pictures: where it comes from, how many, what they hash to."""

    source: str
    count: int
    sha256: str


class Share(_Frozen):
    """A share of ``of`` pictures, with its exact 95 % interval."""

    name: str
    count: int
    of: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself; 0 of 0 is 0."""
        return self.count / self.of if self.of else 0.0


class ClassifierFacts(_Frozen):
    """A classifier whose probability of some classes is one more distance.

    ``model``, ``weights``, ``mean`` and ``std`` as in a plan; ``classes``: positions of the
    protected classes; ``sha256``: of the weights it was calibrated with.
    """

    model: str
    weights: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: tuple[int, ...]
    sha256: str


class Policy(_Frozen):
    """The thresholds of a filter, with everything that they depend on.

    ``block_rate`` and ``held_rate``: the most harmless outputs, as shares, that may be blocked,
    and that may be blocked or sent to review. ``measured``: the same shares on pictures that the
    thresholds were not chosen on. ``planted``: copies of protected pictures that were held.
    ``usual``: 101 quantiles of the nearness of harmless pictures, for drift.
    """

    schema_version: int = SCHEMA_VERSION
    safelight: str
    made: str
    seed: int
    protected: PictureFacts
    reference: PictureFacts
    shape: tuple[int, int, int]
    mirrored: bool
    block_rate: float
    held_rate: float
    rules: tuple[Rule, ...]
    measured: tuple[Share, ...]
    planted: tuple[Share, ...]
    usual: tuple[float, ...]
    classifier: ClassifierFacts | None = None
