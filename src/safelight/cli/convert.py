"""``safelight convert``."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import safetensors
import safetensors.torch
import typer

from safelight.errors import PlanError
from safelight.targets.stylegan_pickle.read import StyleGANPickle, read_stylegan_pickle


def convert(
    network: Annotated[
        Path, typer.Argument(metavar="NETWORK.pkl", help="a published StyleGAN pickle")
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT.safetensors", help="the file to write; it must not exist")
    ],
) -> None:
    """Turn a StyleGAN pickle into safetensors, executing nothing that is in it.

    The tensors are named G_ema.*, G.* and D.*. The metadata's entry "safelight" holds, as JSON,
    each network's class, constructor arguments and settings, and the sha256 of the pickle.
    """
    if out.exists():
        raise PlanError(f"{out} exists already; give another file to write, or remove it")
    pickle = read_stylegan_pickle(network)
    _write(pickle, out)
    for one in pickle.networks.values():
        numbers = sum(value.numel() for value in one.tensors.values())
        typer.echo(f"{one.name}: {one.kind}, {len(one.tensors)} tensors, {numbers:,} numbers")
    typer.echo(f"Written: {out} ({pickle.layout} layout; nothing in the pickle was executed)")


def _write(pickle: StyleGANPickle, out: Path) -> None:
    """Write the file whole or not at all, readable by its user alone."""
    tensors = {
        f"{name}.{key}": value
        for name, one in pickle.networks.items()
        for key, value in one.tensors.items()
    }
    passing = None
    try:
        with tempfile.NamedTemporaryFile(dir=out.parent, delete=False) as stream:
            passing = Path(stream.name)
        safetensors.torch.save_file(tensors, passing, metadata=_facts(pickle))
        passing.chmod(0o600)
        passing.replace(out)
    except BaseException as error:
        if passing is not None:
            passing.unlink(missing_ok=True)
        if not isinstance(error, (OSError, safetensors.SafetensorError)):
            raise
        reason = error.strerror if isinstance(error, OSError) else str(error).split("\n")[0]
        raise PlanError(
            f"cannot write {out}: {reason}; give a folder that exists and has space"
        ) from None


def _facts(pickle: StyleGANPickle) -> dict[str, str]:
    """Return the metadata: one entry, as the library writes several in no fixed order."""
    networks = {
        name: {
            "kind": one.kind,
            "init_args": one.args,
            "init_kwargs": one.kwargs,
            "settings": one.settings,
            "module_source_sha256": one.source_sha256,
        }
        for name, one in pickle.networks.items()
    }
    facts = {"source_sha256": pickle.sha256, "layout": pickle.layout, "networks": networks}
    return {"safelight": json.dumps(facts)}
