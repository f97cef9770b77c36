"""The output filter under load: decisions a second, and what 20 kills lose.

    SAFELIGHT_DATA=DATA python benchmarks/filter_speed.py

10,000 protected pictures of CIFAR-10 (32x32), thresholds on 20,000 others of its training file. The
outputs are its test file, which is not protected. Clients run in threads of this very process, on
the same two cores as the service. A kill is SIGKILL at a random moment; every decision that was
answered before must then be in the file, and every recorded request must be whole.
"""

import argparse
import contextlib
import http.client
import io
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

PROTECTED, REFERENCE, TEST = "train[:10000]", "train[10000:30000]", "test[:2000]"


def command(*words: object) -> list[str]:
    """Return the command line of ``safelight filter``."""
    return [sys.executable, "-m", "safelight", "filter", *(str(one) for one in words)]


def token(folder: Path, name: str, *options: str) -> str:
    """Make a token."""
    done = subprocess.run(
        command("token", folder, name, *options), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Service:
    """A service in a process of its own."""

    folder: Path
    options: Sequence[str] = ()
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[str] | None" = None

    def start(self) -> None:
        """Start it and wait until it decides."""
        words = command("serve", self.folder, "--port", self.port, *self.options)
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                if self.ask("GET", "/v1/health")[0] == 200:
                    return
            if self.process.poll() is not None:
                raise RuntimeError(self.process.communicate()[1])
            time.sleep(0.05)
        raise RuntimeError("the service did not start")

    def kill(self) -> None:
        """End it as a loss of power would end it for the process: SIGKILL."""
        assert self.process is not None  # noqa: S101 - it was started
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def stop(self) -> str:
        """End it as a person would, and return what it said."""
        assert self.process is not None  # noqa: S101 - it was started
        self.process.terminate()
        return self.process.communicate(timeout=60)[1]

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Send one request over a connection of its own."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            line.request(method, path, body, named)
            answer = line.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            line.close()


def packed(pictures: np.ndarray) -> bytes:
    """Return a batch as a client sends it."""
    stream = io.BytesIO()
    np.savez(stream, images=pictures)
    return stream.getvalue()


def png(picture: np.ndarray) -> bytes:
    """Return one picture as a client sends it."""
    stream = io.BytesIO()
    Image.fromarray(picture.squeeze()).save(stream, "PNG")
    return stream.getvalue()


@dataclass
class Load:
    """Clients that send the same bodies over and over, each on a connection that stays open."""

    service: Service
    token: str
    bodies: list[bytes]
    media: str
    clients: int = 4
    answered: dict[str, list[str]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Send until the block ends."""
        done = threading.Event()
        threads = [
            threading.Thread(target=self._send, args=(done, start)) for start in range(self.clients)
        ]
        for one in threads:
            one.start()
        try:
            yield
        finally:
            done.set()
            for one in threads:
                one.join()

    def _send(self, done: threading.Event, at: int) -> None:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": self.media}
        line = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=60)
        while not done.is_set():
            began = time.perf_counter()
            try:
                line.request("POST", "/v1/outputs", self.bodies[at % len(self.bodies)], headers)
                answer = line.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                line.close()  # killed; try again on a new connection
                time.sleep(0.02)
                continue
            if answer.status != 200:
                self.refused.append(answer.status)
                continue
            told: dict[str, Any] = json.loads(content)
            self.answered[told["request"]] = [one["id"] for one in told["outputs"]]
            self.seconds.append(time.perf_counter() - began)
            at += self.clients
        line.close()


def losses(folder: Path, answered: dict[str, list[str]], batch: int) -> tuple[int, int, int]:
    """Return answered decisions that are not recorded, half-recorded requests, and all recorded."""
    base = sqlite3.connect(f"file:{folder / 'decisions.sqlite'}?mode=ro", uri=True)
    try:
        found = dict(base.execute("SELECT id, request FROM decisions"))
        sizes = base.execute("SELECT COUNT(*) FROM decisions GROUP BY request").fetchall()
    finally:
        base.close()
    lost = sum(found.get(one) != request for request, names in answered.items() for one in names)
    return lost, sum(size != batch for (size,) in sizes), len(found)


def kills(service: Service, load: Load, times: int, batch: int, seed: int = 0) -> tuple[int, ...]:
    """Kill the service under load again and again; return what ``losses`` counts, summed."""
    rng = np.random.default_rng(seed)
    lost = half = recorded = 0
    with load.running():
        for _ in range(times):
            before = len(load.answered)
            while len(load.answered) < before + 5:
                time.sleep(0.01)
            time.sleep(float(rng.uniform(0, 0.5)))
            service.kill()
            missing, cut, recorded = losses(service.folder, dict(load.answered), batch)
            lost, half = lost + missing, half + cut
            service.start()
    return lost, half, recorded


def outputs() -> np.ndarray:
    """Return CIFAR-10's test pictures as bytes, [n, 32, 32, 3]."""
    from safelight.data.inspection.collection import open_collection
    from safelight.filtering.gather import gather

    return gather(open_collection("cifar10", TEST)).permute(0, 2, 3, 1).contiguous().numpy()


def cpu(process: int) -> float:
    """Return the seconds of processor time that a process has used (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def timed(service: Service, load: Load, batch: int, seconds: float) -> None:
    """Print decisions a second, how long answers take, and the service's own CPU time for one."""
    assert service.process is not None  # noqa: S101 - it was started
    with load.running():
        time.sleep(3)  # connections open, caches warm
        began, before, spent = time.perf_counter(), len(load.answered), cpu(service.process.pid)
        at = len(load.seconds)
        time.sleep(seconds)
        took, count = time.perf_counter() - began, len(load.answered) - before
        spent = cpu(service.process.pid) - spent
        waits = np.quantile(load.seconds[at:], [0.5, 0.95])
    print(
        f"| {load.media}, {batch} a request | {load.clients} | {count * batch / took:.0f} | "
        f"{waits[0] * 1e3:.0f} | {waits[1] * 1e3:.0f} | {spent / (count * batch) * 1e3:.2f} |"
    )


def main() -> None:
    """Calibrate, measure, kill."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=20, help="of each measurement")
    options.add_argument("--kills", type=int, default=20)
    given = options.parse_args()
    with TemporaryDirectory() as place:
        folder = Path(place) / "filter"
        words = ("cifar10", "cifar10", "--out", folder, "--split", PROTECTED)
        began = time.perf_counter()
        subprocess.run(command("calibrate", *words, "--reference-split", REFERENCE), check=True)
        print(f"calibrated in {time.perf_counter() - began:.0f} s")
        own = token(folder, "load")
        pictures = outputs()
        service = Service(folder, ("--rate", "1e9", "--burst", "1000000000"))
        service.start()
        print("| requests | clients | decisions/s | median ms | 95 % ms | CPU ms |")
        print("|---|---|---|---|---|---|")
        for batch, clients in ((1, 8), (16, 4), (64, 2)):
            if batch == 1:
                bodies = [png(one) for one in pictures]
                media = "image/png"
            else:
                cut = range(0, len(pictures) - batch + 1, batch)
                bodies = [packed(pictures[at : at + batch]) for at in cut]
                media = "application/x-npz"
            timed(service, Load(service, own, bodies, media, clients), batch, given.seconds)
        print(service.stop())
        (folder / "decisions.sqlite").unlink()
        service.start()
        bodies = [packed(pictures[at : at + 16]) for at in range(0, 1600, 16)]
        load = Load(service, own, bodies, "application/x-npz", 4)
        lost, half, _ = kills(service, load, given.kills, 16)
        service.stop()
        missing, cut, recorded = losses(folder, load.answered, 16)
        print(
            f"{given.kills} kills: {lost + missing} answered decisions lost, {half + cut} requests "
            f"half-recorded; {16 * len(load.answered):,} answered, {recorded:,} recorded"
        )


if __name__ == "__main__":
    main()
