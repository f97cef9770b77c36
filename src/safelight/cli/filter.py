"""``safelight filter``: calibrate an output filter, serve it, and look after it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from safelight.errors import DataError, PlanError

if TYPE_CHECKING:
    from safelight.filtering.engine import Filter
    from safelight.filtering.folder import FilterFolder
    from safelight.filtering.policy import Policy

#: Where a token may be given instead of on the command line, which others can read.
TOKEN = "SAFELIGHT_FILTER_TOKEN"  # noqa: S105 - the name of a variable

#: Names of this machine, on which nobody else listens to what is sent.
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

filter_app = typer.Typer(
    help="Keep outputs that come too near protected pictures from leaving.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="the filter's folder")]


Certificate = Annotated[Path | None, typer.Option(help="PEM file, for TLS")]
Key = Annotated[Path | None, typer.Option(help="its private key")]
Silent = Annotated[
    bool, typer.Option("--silent", help="answer with pictures, another where held; no decision")
]
Hold = Annotated[
    Literal["none", "climbs", "scans"],
    typer.Option(
        help="clients to block until a person lifts them: who climb towards a picture, or who scan "
        "a list as well"
    ),
]
Protected = Annotated[
    str, typer.Argument(metavar="PROTECTED", help="a folder of pictures or a data set")
]
Reference = Annotated[
    str,
    typer.Argument(
        metavar="REFERENCE", help="pictures known not to be protected, like the outputs to come"
    ),
]
Out = Annotated[Path, typer.Option(help="folder of the filter")]
Split = Annotated[str, typer.Option(help="split of PROTECTED, sliced as in train[:1000]")]
ReferenceSplit = Annotated[str, typer.Option(help="split of REFERENCE")]
Rate = Annotated[
    float, typer.Option(help="largest share of harmless outputs blocked or sent to review")
]
BlockRate = Annotated[float, typer.Option(help="largest share of them blocked outright")]
Size = Annotated[
    int | None, typer.Option(min=8, max=512, help="side at which pictures are compared")
]
Mirrored = Annotated[bool, typer.Option("--mirrored", help="compare mirror images too")]
SpareSet = Annotated[
    str | None, typer.Option(help="pictures to show instead of held ones: for serve --silent")
]
SpareSplit = Annotated[str, typer.Option(help="its split")]
Model = Annotated[
    str | None, typer.Option(help="a classifier as plans name one: one more distance")
]
Weights = Annotated[str, typer.Option(help="its weights, as in a plan")]
Classes = Annotated[str, typer.Option(help="positions of the protected classes, as in 3,7")]
PartsSeed = Annotated[int, typer.Option(help="of the parts that the reference is dealt into")]
Replace = Annotated[
    bool, typer.Option("--replace", help="calibrate anew; decisions and tokens stay")
]


@filter_app.command()
def calibrate(
    protected: Protected,
    reference: Reference,
    out: Out = Path("filter"),
    split: Split = "train",
    reference_split: ReferenceSplit = "train",
    rate: Rate = 0.01,
    block_rate: BlockRate = 0.001,
    size: Size = None,
    mirrored: Mirrored = False,
    reserve: SpareSet = None,
    reserve_split: SpareSplit = "train",
    classifier: Model = None,
    weights: Weights = "shipped",
    classes: Classes = "",
    seed: PartsSeed = 0,
    replace: Replace = False,
) -> None:
    """Find thresholds at a stated rate of false positives, and measure what they catch."""
    from safelight.data.inspection.collection import open_collection
    from safelight.filtering.classifier import load_classifier
    from safelight.filtering.folder import FilterFolder
    from safelight.filtering.gather import gather
    from safelight.filtering.index import Index
    from safelight.filtering.making import Wish, make_policy

    wish = Wish(block_rate, rate, mirrored, seed)
    folder = FilterFolder(out)
    folder.check_free(replace)
    inside, outside = open_collection(protected, split), open_collection(reference, reference_split)
    index = Index(gather(inside, size=size))
    spare = None
    if reserve is not None:
        spare = gather(open_collection(reserve, reserve_split), index.shape)
    own = None
    if classifier is not None:
        own = load_classifier(classifier, weights, _positions(classes), index.shape)
    policy = make_policy(
        index, gather(outside, index.shape), wish, (inside.source, outside.source), own
    )
    folder.create(replace)
    folder.save(index, policy, spare)
    _tell(policy)
    typer.echo(f"Filter: {out} (it holds the protected pictures: keep it private)")


@filter_app.command()
def check(
    folder: Folder,
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE...", help="PNG, JPEG, WebP")],
) -> None:
    """Decide about picture files. Exit code 0: all allowed; 1: one is held.

    Nothing is recorded.
    """
    from safelight.filtering.folder import FilterFolder
    from safelight.filtering.pictures import as_tensor, read_picture

    engine = _engine(FilterFolder(folder))
    held = False
    for file in pictures:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {file}: {error.strerror}; check the path") from None
        (judged,) = engine.check(as_tensor([read_picture(content)]))
        held |= judged.decision != "allow"
        apart = ", ".join(
            f"{rule.name} {one:.3f} (review below {rule.review:.3f})"
            for rule, one in zip(engine.policy.rules, judged.distances, strict=True)
        )
        typer.echo(f"{judged.decision:6}  {file}  nearest {judged.row}: {apart}")
    if held:
        raise typer.Exit(1)


@filter_app.command()
def token(
    folder: Folder,
    name: Annotated[str | None, typer.Argument(help="whose token; none lists all names")] = None,
    reviewer: Annotated[
        bool, typer.Option("--reviewer", help="may review; otherwise may submit outputs")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option(help=f"a file with the token; else ${TOKEN}, else one is made and printed"),
    ] = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="take the token away")] = False,
) -> None:
    """Give somebody a token, take it away, or list who has one. Only hashes are kept."""
    from safelight.filtering.folder import FilterFolder
    from safelight.filtering.tokens import Tokens

    place = FilterFolder(folder)
    place.policy()
    tokens = Tokens(place)
    if name is None:
        for holder, made in tokens.names():
            typer.echo(f"{holder.name}  {holder.role}  since {made[:10]}")
        return
    if revoke:
        tokens.revoke(name)
        typer.echo(f"{name} may no longer ask")
        return
    given = _given(file)
    made_token = tokens.add(name, "reviewer" if reviewer else "client", given)
    if given is None:
        typer.echo(made_token)
        typer.echo("It is shown this once: keep it like a password.", err=True)
    else:
        typer.echo(f"{name} has the given token")


@filter_app.command()
def serve(
    folder: Folder,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="port to listen on")] = 8765,
    name: Annotated[
        list[str] | None, typer.Option(help="a further name that browsers may ask for")
    ] = None,
    silent: Silent = False,
    hold: Hold = "none",
    rate: Annotated[
        float, typer.Option(min=0.01, help="outputs a second that each client may submit")
    ] = 1000.0,
    burst: Annotated[int, typer.Option(min=1, help="outputs that each may submit at once")] = 2000,
    certificate: Certificate = None,
    key: Key = None,
    threads: Annotated[int, typer.Option(min=1, help="threads that compare pictures")] = 2,
) -> None:
    """Serve the filter, with the review queue as a web page.

    Needs the extra safelight[serve]. Stopped or killed at any moment, it has every decision that it
    ever answered.
    """
    if host not in _LOOPBACK and (certificate is None or key is None):
        raise PlanError(
            f"on {host} tokens and pictures would travel unencrypted; give --certificate and "
            "--key, or keep 127.0.0.1 behind a proxy that speaks TLS"
        )
    try:
        import uvicorn

        from safelight.filtering.service import LOCAL, Limits
    except ImportError as error:
        raise PlanError(
            f"serving needs {error.name}; install it with: pip install 'safelight[serve]'"
        ) from None
    import torch

    from safelight.filtering.folder import FilterFolder
    from safelight.filtering.running import running

    place = FilterFolder(folder)
    engine = _engine(place)
    torch.set_num_threads(threads)
    with running(place, engine, silent, hold, Limits(rate, burst), (*LOCAL, *(name or ()))) as app:
        where = f"http{'s' if certificate else ''}://{host}:{port}"
        typer.echo(f"Filter at {where}/v1/outputs, review at {where}/review", err=True)
        uvicorn.run(
            app,
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            server_header=False,
            ssl_certfile=str(certificate) if certificate else None,
            ssl_keyfile=str(key) if key else None,
        )


@filter_app.command()
def status(folder: Folder) -> None:
    """Tell how a filter fares: rates, drift, clients that climb, what waits for review."""
    from safelight.filtering.decisions import Decisions
    from safelight.filtering.folder import DECISIONS, FilterFolder
    from safelight.filtering.monitor import health

    place = FilterFolder(folder)
    policy = place.policy()
    _tell(policy)
    if not place.file(DECISIONS).exists():
        typer.echo("No output was ever submitted.")
        return
    found = health(Decisions(place.file(DECISIONS)), policy)
    counts = found.counts
    typer.echo(
        f"Ever: {counts['allow']:,} allowed, {counts['review']:,} sent to review, "
        f"{counts['block']:,} blocked; {counts['waiting']:,} wait for a person"
    )
    for one in found.rates:
        typer.echo(
            f"Lately {one.name}: {one.count:,} of {one.of:,} ({one.low:.2%} to {one.high:.2%}), "
            f"promised for harmless outputs: {one.promised:.2%}{'  LOOK' if one.above else ''}"
        )
    if found.drift is not None:
        drifted = "  DRIFTED: calibrate again" if found.drift.drifted else ""
        typer.echo(
            f"Median nearness {found.drift.now:.2f}, when calibrated {found.drift.usual:.2f} "
            f"(p = {found.drift.p:.1g}){drifted}"
        )
    for client in found.clients:
        if client.state:
            typer.echo(f"{client.name} {client.state}: {client.detail}")


@filter_app.command()
def oracle(
    folder: Folder,
    others: Annotated[
        str, typer.Argument(metavar="OTHERS", help="pictures like the protected ones, unprotected")
    ],
    split: Annotated[str, typer.Option(help="split of OTHERS")] = "train",
    pictures: Annotated[int, typer.Option(min=20, help="members, and as many others")] = 200,
    memory: Annotated[
        float, typer.Option(min=0, max=1, help="share of draws that a generator remembers")
    ] = 0.2,
    draws: Annotated[int, typer.Option(min=1, help="prompts about each picture")] = 8,
    candidates: Annotated[int, typer.Option(min=1, help="outputs drawn for each prompt")] = 1,
    seed: Annotated[int, typer.Option(help="of the draws")] = 0,
) -> None:
    """Measure what the filter's own answers tell of who is protected, told and silent.

    The generator is a stand-in that remembers a stated share. The exit code is 0 whatever was
    found.
    """
    from safelight.filtering.folder import FilterFolder

    place = FilterFolder(folder)
    engine = _engine(place)
    from safelight.auditing.score_files import ScoreSet
    from safelight.auditing.scores import assess
    from safelight.filtering.oracle import Generator, Played, editor, prompter, sides
    from safelight.filtering.replacement import Reserve
    from safelight.record.membership import ScoreFile

    reserve = Reserve(place.reserve(), engine.index, place.secret())
    members, nonmembers, pool = sides(engine, others, split, pictures, seed)
    generator = Generator(pool, memory=memory, draws=draws, candidates=candidates)
    pair = members, nonmembers
    origin = ScoreFile(file=str(folder), column="score", count=pictures, sha256="")

    def judged(play: Played) -> str:
        inside, outside = ScoreSet(play.members, (), origin), ScoreSet(play.nonmembers, (), origin)
        return assess(inside, outside, "score", 0.01, seed).verdict.outcome

    for play in (
        *editor(engine, reserve, pair),
        *prompter(engine, reserve, pair, generator, seed),
    ):
        area, caught = play.area, play.caught(0.01).tpr
        typer.echo(
            f"{play.attacker}, {play.answer}  AUC {area.value:.3f} ({area.low:.3f} to "
            f"{area.high:.3f}), {caught.value:.0%} of members at 1% false alarms: {judged(play)}"
        )


def _engine(place: "FilterFolder") -> "Filter":
    policy = place.policy()
    if policy.classifier is None:
        return place.load()
    from safelight.filtering.classifier import load_again

    return place.load(load_again(policy.classifier, policy.shape))


def _positions(classes: str) -> tuple[int, ...]:
    try:
        return tuple(int(one) for one in classes.split(",") if one.strip())
    except ValueError:
        raise PlanError(f"--classes {classes} are no positions; give them as in 3,7") from None


def _given(file: Path | None) -> str | None:
    """Return the token that a file or the environment holds."""
    if file is None:
        return os.environ.get(TOKEN) or None
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"cannot read {file}: {error}; give a file with a token") from None


def _tell(policy: "Policy") -> None:
    typer.echo(
        f"{policy.protected.count:,} protected pictures ({policy.protected.source}), thresholds on "
        f"{policy.reference.count:,} others ({policy.reference.source})"
    )
    for rule in policy.rules:
        typer.echo(f"  {rule.name:10} review below {rule.review:.4f}, block below {rule.block:.4f}")
    for one, promised in zip(policy.measured, (policy.block_rate, policy.held_rate), strict=True):
        typer.echo(
            f"Harmless pictures {one.name}: {one.value:.2%} ({one.low:.2%} to {one.high:.2%}, "
            f"n = {one.of:,}), promised at most {promised:.2%}"
        )
    for one in policy.planted:
        typer.echo(
            f"Copies held, {one.name}: {one.value:.1%} ({one.low:.1%} to {one.high:.1%}, "
            f"n = {one.of})"
        )
