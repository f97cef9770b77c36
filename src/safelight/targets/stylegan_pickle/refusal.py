"""Why a file is refused, each reason with its remedy, on one line."""

from safelight.errors import LoadError

LONGEST_QUOTE = 80


def damaged(reason: str) -> LoadError:
    """Return the error of a file that contradicts itself or ends too soon."""
    return LoadError(f"it is damaged: {reason}; download it again")


def unsafe(reason: str) -> LoadError:
    """Return the error of a file that asks for more than a network's tensors need."""
    return LoadError(
        f"it {reason}, which no StyleGAN needs; load it nowhere, "
        "and ask its publisher for a .safetensors file"
    )


def foreign(reason: str) -> LoadError:
    """Return the error of a file that holds something else."""
    return LoadError(
        f"{reason}; give a network pickle of StyleGAN2-ADA, StyleGAN3 or the TensorFlow StyleGANs"
    )


def too_large(reason: str) -> LoadError:
    """Return the error of a file beyond what any published network needs."""
    return LoadError(f"it {reason}, more than any StyleGAN; do not trust it")


def quoted(text: str) -> str:
    """Return text of the file so that it can neither break nor color a line of a terminal."""
    return ascii(text[:LONGEST_QUOTE])[1:-1]
