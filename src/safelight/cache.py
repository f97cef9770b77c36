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
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "safelight"
        self.root = root or Path(os.environ.get("SAFELIGHT_CACHE") or home)

    def tensors(
        self, key: Mapping[str, Any], make: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return what ``make`` returns, from disk if it was made before.

        ``key`` must name everything that the result depends on; the source text of the module
        that defines ``make`` is added, so that a changed recipe is not mistaken for the old one.
        A damaged entry is made again. A cache that cannot be written is no error: it only saves
        time.
        """
        module = inspect.getmodule(make)
        source = inspect.getsource(module) if module else ""
        text = json.dumps({**key, "source": source}, sort_keys=True, default=str)
        file = self.root / f"{hashlib.sha256(text.encode()).hexdigest()}.safetensors"
        try:
            return safetensors.torch.load_file(file)
        except (OSError, safetensors.SafetensorError):
            made = {name: value.contiguous() for name, value in make().items()}
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            passing = file.with_suffix(f".{os.getpid()}")
            safetensors.torch.save_file(made, passing)
            passing.chmod(0o600)
            passing.replace(file)
        except (OSError, safetensors.SafetensorError):
            pass
        return made
