"""``safelight encrypt``."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from safelight.cli.plan_options import Device, Setting, overrides
from safelight.errors import PlanError
from safelight.plan.plan import load_plan
from safelight.record.record import Measurement
from safelight.record.store import Run
from safelight.reports import numbers
from safelight.reports.terminal import WIDTH

if TYPE_CHECKING:
    from safelight.encryption.record import EncryptionRecord


def encrypt(
    plan: Annotated[str, typer.Argument(help="a TOML file, or a preset: demo, mnist, ...")],
    cut: Annotated[
        str | None,
        typer.Option(help="the layer that is sent; the earliest that works if not given"),
    ] = None,
    pictures: Annotated[int, typer.Option(min=1, help="held-out pictures to encrypt")] = 50,
    seed: Annotated[int, typer.Option(help="draws the pictures")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="folder for encryption.json; runs/<plan's name>-encryption if not given"),
    ] = None,
    device: Device = None,
    setting: Setting = None,
) -> None:
    """What does it cost if the cloud computes on encrypted messages, and is it still right?

    Fully connected layers behind a cut are computed under homomorphic encryption (CKKS), for real.
    Needs TenSEAL, which comes with the extra named he.
    """
    given = load_plan(plan, overrides(setting, None, device))
    folder = out or Path("runs") / f"{given.name}-encryption"
    with Console(stderr=True).status("Loading PyTorch") as status:
        from safelight.auditing.setting import (
            describe_provenance,
            device_of,
            watches_no_message,
        )
        from safelight.auditing.target import obtain
        from safelight.cache import Cache
        from safelight.data.roles import deal
        from safelight.encryption.context import library
        from safelight.encryption.measure import check, measure, prepare

        library()
        where = device_of(given.device)
        status.update("Reading the pictures and the model")
        roles = deal(given.data)
        check(roles.holdout, pictures)
        target, _ = obtain(given, roles, where, Cache())
        watches_no_message(given, target)
        status.update("Fitting quadratics to the activations")
        chosen = prepare(target, cut, roles.public)
        _make(folder)
        record = measure(
            target,
            chosen,
            roles.public,
            roles.holdout,
            pictures,
            seed,
            (given.name, describe_provenance(where)),
            lambda done: status.update(f"Computing on encrypted messages: {done} of {pictures}"),
        )
    Run(folder).write("encryption.json", (record.model_dump_json(indent=1) + "\n").encode())
    typer.echo(text(record))
    typer.echo(f"Record: {folder / 'encryption.json'}")


def text(record: "EncryptionRecord", width: int = WIDTH) -> str:
    """Return a record as plain text for a console of ``width`` columns."""
    cipher, errors, shares = record.cipher, record.errors, record.accuracy
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(Text(f"{record.model} behind {record.cut}, computed under encryption"))
        console.print(
            Text(
                f"Cloud: {'; '.join(record.layers)}. CKKS at {cipher.security} bits: ring degree "
                f"{cipher.degree:,}, modulus {cipher.modulus} of at most {cipher.limit} bits, "
                f"{cipher.levels} {'level' if cipher.levels == 1 else 'levels'}."
            )
        )
        console.print(_table(record))
        if any("linear" not in one for one in record.layers):
            console.print(
                Text(
                    "Activations are quadratics, fitted on public pictures. In the clear, on "
                    f"{shares.same.n:,} held-out pictures: {numbers.count(shares.quadratic)} right "
                    f"({numbers.count(shares.model_all)} by the model), "
                    f"{numbers.count(shares.same)} of the same class "
                    f"({numbers.percent_interval(shares.same)})."
                )
            )
        console.print(
            Text(
                f"Encryption changes no number by more than {errors.encryption:.1e}, of up to "
                f"{errors.largest:.1f}."
            )
        )
        for one in record.assumptions:
            console.print(Text(f"- {one}"))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _table(record: "EncryptionRecord") -> Table:
    shares, sizes, times = record.accuracy, record.sizes, record.times
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("", "In the clear", "Encrypted"):
        table.add_column(name)
    table.add_row("Right", _counted(shares.model), _counted(shares.encrypted))
    table.add_row("Same class as in the clear", "", _counted(shares.exact))
    table.add_row("Message", _bytes(sizes.message_clear), _bytes(sizes.message.value))
    table.add_row("Answer", _bytes(sizes.answer_clear), _bytes(sizes.answer.value))
    table.add_row("Keys, once", "", f"{_bytes(sizes.keys)}, {numbers.duration(times.keys)}")
    table.add_row("Cloud prepares weights, once", "", numbers.duration(times.prepare))
    table.add_row("Device encrypts", "", _timed(times.encrypt))
    table.add_row("Cloud computes", _timed(times.cloud_clear), _timed(times.cloud))
    table.add_row("Device decrypts", "", _timed(times.decrypt))
    return table


def _counted(share: Measurement) -> str:
    return f"{numbers.count(share)} ({numbers.percent_interval(share)})"


def _bytes(size: float | None) -> str:
    size = size or 0.0
    for unit, scale in (("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size:.0f} bytes"


def _timed(seconds: Measurement) -> str:
    """Write a time with its interval, in the unit that suits it."""
    value, low, high = (one or 0.0 for one in (seconds.value, seconds.low, seconds.high))
    unit, scale = next(
        (one for one in (("s", 1.0), ("ms", 1e3)) if value * one[1] >= 1), ("us", 1e6)
    )
    return f"{scale * value:.3g} {unit} ({scale * low:.3g} to {scale * high:.3g})"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PlanError(f"cannot make {folder}: {error.strerror}; check --out") from None
