"""The cloud: a circuit on encrypted messages. It holds weights and evaluation keys, no secret.

A vector of ``width`` numbers stands in ``block(width)`` slots, repeated over all slots, so that
every rotation is cyclic. A matrix is summed by its diagonals (Halevi and Shoup 2014); where it has
fewer rows than columns, they wrap around and partial sums are folded (Juvekar et al. 2018):

    y[i] = sum_k W[i mod m, (i + k) mod n] x[i + k],   answer[j] = sum_t y[j + t m]

with m rows and n columns, both filled up to powers of two. Baby steps and giant steps take it from
m rotations to about 2 sqrt(m). Each step turns what the last one left, so that two keys serve all
steps, and one each fold.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from safelight.encryption.circuit import Array, Circuit, Matrix, Shift, Square
from safelight.encryption.context import (
    SCALE,
    EvaluationKeys,
    Parameters,
    block,
    ciphertext,
    from_bytes,
    library,
    open_context,
    spread,
    to_bytes,
)

#: Encoded diagonals are kept up to this many bytes, and encoded anew for each message beyond.
_KEPT = 2**30

#: A diagonal with no larger entry is left out: SEAL refuses to multiply by zero.
_NOTHING = 1e-10


@dataclass(frozen=True)
class Layout:
    """How a matrix lies in the slots: ``rows`` and ``columns`` as powers of two, baby steps."""

    rows: int
    columns: int

    @property
    def baby(self) -> int:
        """Rotations of the input; a power of two near the root of ``rows``."""
        return 1 << ((self.rows.bit_length()) // 2)

    @property
    def folds(self) -> tuple[int, ...]:
        """Rotations that sum the parts of the answer."""
        return tuple(self.rows << at for at in range((self.columns // self.rows).bit_length() - 1))

    @property
    def rotations(self) -> set[int]:
        """Every rotation that is used."""
        giant = {self.baby} if self.baby < self.rows else set()
        return {*([1] if self.baby > 1 else []), *giant, *self.folds}


def layouts(circuit: Circuit) -> list[Layout]:
    """Return the layout of every matrix, in order."""
    found, period = [], block(circuit.width)
    for step in circuit.steps:
        if isinstance(step, Matrix):
            rows = block(len(step.bias))
            found.append(Layout(rows, max(period, rows)))
            period = rows
    return found


def widest(circuit: Circuit) -> int:
    """Return the most slots that a vector of the circuit fills."""
    return max([block(circuit.width), *(one.columns for one in layouts(circuit))])


def rotations(circuit: Circuit) -> tuple[int, ...]:
    """Return the rotations for which the circuit needs keys."""
    return tuple(sorted(set().union(*(one.rotations for one in layouts(circuit)))))


def diagonal(weight: Array, layout: Layout, k: int) -> Array:
    """Return ``W[i mod rows, (i + k) mod columns]`` for i below ``columns``, zero where W ends."""
    at = np.arange(layout.columns)
    row, column = at % layout.rows, (at + k) % layout.columns
    inside = (row < weight.shape[0]) & (column < weight.shape[1])
    found = np.zeros(layout.columns)
    found[inside] = weight[row[inside], column[inside]]
    return found


class Operator:
    """Computes a circuit on encrypted messages."""

    def __init__(self, circuit: Circuit, chosen: Parameters, keys: EvaluationKeys) -> None:
        self.circuit, self.parameters = circuit, chosen
        self._seal = library()
        self._context = open_context(chosen)
        self._evaluator = self._seal.Evaluator(self._context)
        self._encoder = self._seal.CKKSEncoder(self._context)
        if keys.relinearization:
            self._relinearize = from_bytes(
                self._context, self._seal.RelinKeys(), keys.relinearization
            )
        if keys.rotation:
            self._rotate = from_bytes(self._context, self._seal.GaloisKeys(), keys.rotation)
        # Every prime of 8 bytes a coefficient, as many as the first matrix meets.
        each = 8 * chosen.degree * (len(chosen.bits) - 1)
        self._keep = each * sum(one.rows for one in layouts(circuit)) <= _KEPT
        self._encoded: dict[tuple[int, int], Any] = {}

    def answer(self, message: bytes) -> bytes:
        """Compute on an encrypted message and return the encrypted answer.

        Raises:
            DataError: the message is damaged or was encrypted with other parameters.
        """
        x = ciphertext(self._context, message)
        place, period = iter(layouts(self.circuit)), block(self.circuit.width)
        for at, step in enumerate(self.circuit.steps):
            if isinstance(step, Matrix):
                layout = next(place)
                x = self._multiply(x, at, step, layout)
                period = layout.rows
                self._add(x, at, step.bias, period)
            elif isinstance(step, Shift):
                self._add(x, at, step.bias, period)
            elif isinstance(step, Square):
                self._evaluator.square_inplace(x)
                self._evaluator.relinearize_inplace(x, self._relinearize)
                self._evaluator.rescale_to_next_inplace(x)
        return to_bytes(x)

    def _multiply(self, x: Any, at: int, step: Matrix, layout: Layout) -> Any:
        """Return the matrix times an encrypted vector, without its bias."""
        turned = [x]
        for _ in range(1, layout.baby):
            turned.append(self._turn(turned[-1], 1))
        # The scale after the next rescaling is SCALE again, whatever squares made of it.
        data = self._context.get_context_data(x.parms_id())
        scale = float(data.parms().coeff_modulus()[-1].value()) * SCALE / x.scale
        total = None
        for giant in reversed(range(0, layout.rows, layout.baby)):
            if total is not None:
                total = self._turn(total, layout.baby)
            for baby, one in enumerate(turned):
                plain = self._diagonal(at, step, layout, giant, baby, x.parms_id(), scale)
                if plain is None:
                    continue
                product = self._seal.Ciphertext()
                self._evaluator.multiply_plain(one, plain, product)
                if total is None:
                    total = product
                else:
                    self._evaluator.add_inplace(total, product)
        self._evaluator.rescale_to_next_inplace(total)
        for steps in layout.folds:
            self._evaluator.add_inplace(total, self._turn(total, steps))
        return total

    def _turn(self, x: Any, steps: int) -> Any:
        """Return a ciphertext rotated to the left."""
        turned = self._seal.Ciphertext()
        self._evaluator.rotate_vector(x, steps, self._rotate, turned)
        return turned

    def _diagonal(
        self, at: int, step: Matrix, layout: Layout, giant: int, baby: int, level: Any, scale: float
    ) -> Any:
        """Return an encoded diagonal, turned back by the giant steps to come; None for zero."""
        key = (at, giant + baby)
        if key not in self._encoded:
            values = np.roll(diagonal(step.weight, layout, giant + baby), giant)
            plain = None
            if np.abs(values).max() > _NOTHING:
                plain = self._seal.Plaintext()
                slots = spread(values, layout.columns, self.parameters.slots)
                self._encoder.encode(slots.tolist(), level, scale, plain)
            if not self._keep:
                return plain
            self._encoded[key] = plain
        return self._encoded[key]

    def _add(self, x: Any, at: int, bias: Array, period: int) -> None:
        """Add a bias in place."""
        key = (at, -1)
        if key not in self._encoded:
            plain = self._seal.Plaintext()
            slots = spread(bias, period, self.parameters.slots)
            self._encoder.encode(slots.tolist(), x.parms_id(), x.scale, plain)
            self._encoded[key] = plain
        self._evaluator.add_plain_inplace(x, self._encoded[key])
