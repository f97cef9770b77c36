"""Work done once: tensors kept on disk, addressed by everything that made them."""

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor


class Cache:
    """A folder of tensors that can be made again: trained targets and attack networks.

    The folder is private to its user. ``SAFELIGHT_CACHE`` moves it.
    """

    def __init__(self, root: Path | None = None) -> None:
        own = os.environ.get("SAFELIGHT_CACHE")
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        self.root = root or Path(own or f"{base}/safelight")

    def tensors(
        self, key: Mapping[str, Any], source: str, make: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return what ``make`` returns, from disk if it was made before.

        ``key`` and ``source`` (of the recipe's code, see ``source_of``) must name everything that
        the result depends on. A damaged entry is made again. A cache that cannot be written is no
        error: it only saves time.
        """
        text = json.dumps({**key, "source": source}, sort_keys=True, default=str)
        file = self.root / f"{hashlib.sha256(text.encode()).hexdigest()}.safetensors"
        try:
            return safetensors.torch.load_file(file)
        except (OSError, safetensors.SafetensorError):
            # Clones: tensors that share memory, as tied weights do, cannot be stored together.
            made = {name: value.contiguous().clone() for name, value in make().items()}
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            passing = file.with_suffix(f".{os.getpid()}")
            safetensors.torch.save_file(made, passing)
            passing.chmod(0o600)
            passing.replace(file)
        except (OSError, safetensors.SafetensorError):
            pass
        return made


def source_of(*recipe: object) -> str:
    """Return the source text of the modules that define functions and classes.

    As part of a key it keeps a changed recipe from being mistaken for the old one.
    """
    texts = []
    for one in recipe:
        module = inspect.getmodule(one)
        try:
            texts.append(inspect.getsource(module) if module else "")
        except (OSError, TypeError):  # built in, or typed into a shell
            texts.append(repr(one))
    return "\n".join(texts)
