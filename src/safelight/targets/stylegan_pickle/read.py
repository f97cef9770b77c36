"""Read a published StyleGAN pickle, executing nothing."""

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

from safelight.errors import LoadError
from safelight.targets.stylegan_pickle.constructions import vocabulary
from safelight.targets.stylegan_pickle.networks import Layout, PickledNetwork, networks
from safelight.targets.stylegan_pickle.opcodes import MOST_OPCODES, Budget, Cursor, Machine
from safelight.targets.stylegan_pickle.refusal import foreign, too_large

#: The largest published files, of 1024 x 1024 pixels, have under 400 MB.
LARGEST_FILE = 2 * 1024**3
#: Texts, and bytes that protocol 2 has as text, are decoded once or twice.
MOST_DECODED = 4


@dataclass(frozen=True)
class StyleGANPickle:
    """What a file holds: its hash, its layout, and its networks by name (G, D, G_ema)."""

    sha256: str
    layout: Layout
    networks: dict[str, PickledNetwork]


def read_stylegan_pickle(file: Path) -> StyleGANPickle:
    """Read the networks of a StyleGAN2-ADA, StyleGAN3 or TensorFlow StyleGAN/StyleGAN2 pickle.

    Nothing in the file is imported, called or compiled; time and memory are bounded by its size.

    Raises:
        LoadError: it cannot be read, is damaged, is something else, or asks for anything that the
            tensors of such networks do not need.
    """
    try:
        content = _content(file)
        view = memoryview(content)
        budget = Budget(MOST_OPCODES, MOST_DECODED * len(content))
        cursor = Cursor(view, budget)
        root = Machine(cursor, vocabulary(budget)).run()
        if cursor.left:
            raise foreign(f"{cursor.left} bytes follow the end of its pickle")
        layout, found = networks(root, len(content))
    except LoadError as error:
        raise LoadError(f"cannot read {file}: {error}") from None
    except OSError as error:
        raise LoadError(f"cannot read {file}: {error.strerror}; check the path") from None
    return StyleGANPickle(
        sha256=hashlib.sha256(content).hexdigest(),
        layout=layout,
        networks={one.name: one for one in found},
    )


def _content(file: Path) -> bytes:
    facts = file.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise foreign("it is no file")
    if facts.st_size > LARGEST_FILE:
        raise too_large(f"has {facts.st_size / 1024**3:.1f} GiB")
    with file.open("rb") as stream:
        return stream.read(facts.st_size)
