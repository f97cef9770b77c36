"""Shadow models: networks trained as the target was, on pictures that one knows.

Shadows are independent of each other. On a CPU they are trained one process a core: convolutions
of one small network leave most of a second core idle (see ``benchmarks/shadow_speed.py``). Each is
kept in the cache as soon as it is trained, so that an audit that was stopped goes on from there.
"""

import hashlib
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from safelight.cache import Cache, source_of
from safelight.data.images import ImageSet
from safelight.plan.plan import FitPlan
from safelight.stats.seeds import Seeds
from safelight.targets.fit import fit
from safelight.targets.target import Normalized
from safelight.targets.untrained import same_structure

#: Tells a watcher (how many shadows are trained, how many there are to be).
Tell = Callable[[int, int], None]

#: Seconds of work that are done here: workers take about as long to import PyTorch and start.
WORTH_SENDING = 15.0

#: What a worker process runs. Not ``multiprocessing``: its workers import the script that started
#: the audit, which then starts another audit unless its author wrote a guard. A terminal interrupts
#: workers as well: they end at once and in silence, and their parent says what is to be said.
_WORKER = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "from safelight.targets.shadows import work; work()"
)


class Training(Protocol):
    """A way to train a classifier in place, such as ``targets.fit.fit``; returns its facts."""

    def __call__(self, model: Normalized, data: ImageSet, recipe: FitPlan) -> dict[str, Any]:
        """Train."""
        ...


@dataclass(frozen=True)
class Lesson:
    """How all shadows of one target are trained.

    Attributes:
        model: the target; shadows take its structure and none of its weights.
        pool: the pictures that shadows draw from.
        recipe: the target's; each shadow has its own seed.
        training: the target's.
    """

    model: Normalized
    pool: ImageSet
    recipe: FitPlan
    training: Training = fit


@dataclass(frozen=True, eq=False)
class _Job:
    """One shadow: its rows of the pool [n], its seed, and what it is filed under."""

    rows: Tensor
    seed: int
    key: dict[str, Any]


def draw(count: int, pool: int, size: int, seeds: Seeds) -> Tensor:
    """Draw the training sets of ``count`` shadows, [count, pool], True where a picture is in.

    Each holds ``size`` of the pool's pictures. After any number of shadows, no picture has been in
    more than one set more than another: with ``size`` half of the pool, sets come in complementary
    pairs. More shadows leave the first ones as they were.

    Raises:
        ValueError: ``size`` is not below the pool, so that no picture would ever be out.
    """
    if not 0 < size < pool:
        raise ValueError(f"shadows of {size} pictures need a pool of more than {size}, not {pool}")
    order = torch.Generator().manual_seed(seeds.integer())
    times = torch.zeros(pool)
    inside = torch.zeros(count, pool, dtype=torch.bool)
    for row in inside:
        # The least drawn first, in random order among equals.
        row[(times + 0.5 * torch.rand(pool, generator=order)).argsort()[:size]] = True
        times += row
    return inside


def train(
    lesson: Lesson,
    inside: Tensor,
    seeds: Seeds,
    cache: Cache,
    tell: Tell | None = None,
    workers: int | None = None,
) -> list[Normalized]:
    """Train a shadow for each row of ``inside``, or take it from the cache.

    Args:
        lesson: how.
        inside: [shadows, pool], True where a picture is in that shadow's training set.
        seeds: of their first weights and of the order of their batches.
        cache: keeps each shadow as soon as it is trained.
        tell: told after each shadow.
        workers: processes; if not given, one a core, but none where the first shadow shows that
            the rest are trained before workers have started. With 1, and where the target is not
            on a CPU, shadows are trained here, one after the other.

    Returns:
        the shadows, frozen, in evaluation mode, on the target's device.
    """
    jobs = _jobs(lesson, inside, seeds)
    missing = [job for job in jobs if not _kept(lesson, job, cache)]
    done = _counted(tell, len(jobs) - len(missing), len(jobs))
    if missing and workers is None:
        began = time.monotonic()
        _shadow(lesson, missing.pop(0), cache)
        done()
        soon = (time.monotonic() - began) * len(missing) < WORTH_SENDING
        workers = 1 if soon else _cores()
    count = min(workers or 1, len(missing))
    if count > 1 and lesson.model.mean.device.type == "cpu":
        _send_out(lesson, missing, cache, count, done)
    shadows = []
    for job in jobs:
        here = job in missing and not _kept(lesson, job, cache)  # or no worker got to it
        shadows.append(_shadow(lesson, job, cache))
        if here:
            done()
    return shadows


def work() -> None:
    """Train the shadows that arrive on standard input into the cache; one line for each done."""
    lesson, jobs, root, path = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own parent
    torch.set_num_threads(1)
    sys.path[:] = path
    lesson = pickle.loads(lesson)  # noqa: S301 - the user's own module, found by the path
    for job in jobs:
        _shadow(lesson, job, Cache(root))
        print("done", flush=True)  # noqa: T201 - the parent counts these lines


def _jobs(lesson: Lesson, inside: Tensor, seeds: Seeds) -> list[_Job]:
    contents = lesson.pool.content_hashes()
    common = {
        "recipe": lesson.recipe.model_dump(exclude={"seed"}),
        "training": repr(lesson.training) if lesson.training is not fit else "fit",
        "layers": repr(lesson.model),
        "scale": [lesson.model.mean.tolist(), lesson.model.std.tolist()],
        "torch": torch.__version__,
    }
    jobs = []
    for number, row in enumerate(inside):
        rows = row.nonzero()[:, 0]
        seed = seeds.child(str(number)).integer() % 2**31
        text = "".join(contents[one] for one in rows.tolist())
        held = {"seed": seed, "rows": hashlib.sha256(text.encode()).hexdigest()}
        jobs.append(_Job(rows, seed, common | {"shadow": held}))
    return jobs


def _shadow(lesson: Lesson, job: _Job, cache: Cache) -> Normalized:
    device = lesson.model.mean.device
    model: Any = same_structure(lesson.model, job.seed)

    def make() -> dict[str, Tensor]:
        recipe = lesson.recipe.model_copy(update={"seed": job.seed})
        lesson.training(model, lesson.pool.rows(job.rows), recipe)
        return {name: value.cpu() for name, value in model.state_dict().items()}

    model.load_state_dict(cache.tensors(job.key, _source(lesson), make))
    trained: Normalized = model.to(device).eval().requires_grad_(False)
    return trained


class _MissingError(Exception):
    """The cache does not hold a shadow."""


def _kept(lesson: Lesson, job: _Job, cache: Cache) -> bool:
    def make() -> dict[str, Tensor]:
        raise _MissingError

    try:
        cache.tensors(job.key, _source(lesson), make)
    except _MissingError:
        return False
    return True


def _source(lesson: Lesson) -> str:
    layers = [type(one) for one in lesson.model.modules()]
    training: Any = lesson.training
    return source_of(getattr(training, "__func__", training), *layers)


def _counted(tell: Tell | None, done: int, total: int) -> Callable[[], None]:
    lock, state = threading.Lock(), [done]

    def one() -> None:
        with lock:
            state[0] += 1
            if tell is not None:
                tell(state[0], total)

    return one


def _send_out(
    lesson: Lesson, jobs: list[_Job], cache: Cache, count: int, one: Callable[[], None]
) -> None:
    """Have workers fill the cache; what they leave undone is trained by whoever reads it."""
    packed = pickle.dumps(lesson)

    def run(share: list[_Job]) -> None:
        command = [sys.executable, "-c", _WORKER]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        path = [os.getcwd(), *sys.path]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, env=environment, **pipes) as worker:
            assert worker.stdin is not None  # noqa: S101
            try:
                worker.stdin.write(pickle.dumps((packed, share, cache.root, path)))
                worker.stdin.close()
                for _ in worker.stdout or ():
                    one()
            except BaseException:
                worker.terminate()
                raise

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(run, [jobs[first::count] for first in range(count)]))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
