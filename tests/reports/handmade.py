"""A small run with every outcome in it, made by hand: no model, no torch, a tenth of a second."""

import base64
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from safelight.record.record import (
    Baseline,
    Bound,
    Cell,
    Component,
    Control,
    Finding,
    Measurement,
    Provenance,
    Record,
    Role,
    TargetFacts,
    Verdict,
)
from safelight.record.store import Run
from safelight.record.verdict import judge, measure, overall, skip

VICTIMS = 40
SIDE = 16
COLUMNS = 25

#: What a hostile folder of pictures could name a class, and an exception could say.
HOSTILE = "<script>alert(1)</script> | `rm` @everyone \x1b]0;owned\x07 [red]"

DETERMINISTIC = Bound(
    name="certificate",
    value=None,
    holds="no",
    assumptions=["the message is random given the picture"],
    detail="The message is computed without randomness.",
)


def sheet(images: np.ndarray) -> bytes:
    """Tile pictures [n, height, width, channels] in [0, 1] as the audit does."""
    n, height, width, channels = images.shape
    canvas = np.zeros((math.ceil(n / COLUMNS) * COLUMNS, height, width, channels), np.uint8)
    canvas[:n] = (images * 255).round()
    rows = canvas.reshape(-1, COLUMNS, height, width, channels).transpose(0, 2, 1, 3, 4)
    pixels = rows.reshape(-1, COLUMNS * width, channels)
    stream = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(stream, "PNG")
    return stream.getvalue()


def decode(uri: str) -> np.ndarray:
    """Return the pixels of a picture in a data URI."""
    content = base64.b64decode(uri.partition(",")[2])
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


class Maker:
    """Makes runs; every picture, score and verdict follows from its arguments."""

    def __init__(self, folder: Path, channels: int, side: int = SIDE) -> None:
        self.run = Run(folder)
        self.run.create()
        self.channels, self.side = channels, side
        self.rng = np.random.default_rng(0)
        self.truth = self.rng.random((VICTIMS, side, side, channels))
        self.null = self._baseline("class template", 0.4, oracle=False)
        self.oracle = self._baseline("nearest public", 0.6, oracle=True)

    def keep(self, images: np.ndarray) -> str:
        return self.run.keep(sheet(images), ".png")

    def spread(self, mean: float, width: float = 0.05) -> list[float]:
        return [float(x) for x in mean + width * np.linspace(-1, 1, VICTIMS)]

    def _baseline(self, name: str, ssim: float, oracle: bool) -> Baseline:
        flat = np.full_like(self.truth, ssim)
        return Baseline(
            name=name,
            summary=name,
            oracle=oracle,
            scores={"ssim": self.spread(ssim)},
            artifact=self.keep(flat),
        )

    def finding(self, identity: str, where: str, **changes: Any) -> Finding:
        content: dict[str, Any] = {
            "id": identity,
            "threat": "split_inference",
            "threat_options": {"cut": where, "knows": "weights"},
            "attack": "inversion/decoder",
            "attack_options": {"steps": 300},
            "where": where,
            "access": "black-box queries",
            "verdict": Verdict(
                outcome="INCONCLUSIVE", severity="none", confidence="low", reason="not run yet"
            ),
            "nulls": {
                one.name: measure("ssim", [one.scores["ssim"]]) for one in (self.null, self.oracle)
            },
            "best_null": "class template",
        }
        return Finding(**content | changes)

    def cell(self, finding: Finding, hits: int, ssim: float, seed: int = 0, **changes: Any) -> Cell:
        """Return a finished cell whose attack named so many victims at that SSIM."""
        own = self.spread(ssim, 0.02)
        content: dict[str, Any] = {
            "id": f"{finding.id}-{seed}",
            "finding": finding.id,
            "seed": seed,
            "status": "ok",
            "scores": {
                "ssim": own,
                "psnr": self.spread(20.0, 1.0),
                "mse": self.spread(0.01, 0.001),
                "named": [float(victim < hits) for victim in range(VICTIMS)],
                "gain": [a - b for a, b in zip(own, self.null.scores["ssim"], strict=True)],
                "gain over nearest": [
                    a - b for a, b in zip(own, self.oracle.scores["ssim"], strict=True)
                ],
            },
            "controls": [control("planted leak", True), control("swapped claims", True)],
            "bound": DETERMINISTIC,
            "queries": 2700,
            "seconds": 12.5,
            "artifact": self.keep(self.truth * ssim),
        }
        return Cell(**content | changes)

    def record(self, judged: list[tuple[Finding, list[Cell]]], **changes: Any) -> Run:
        """Judge the findings by their cells, write the record, return its run."""
        tests = sum(not one.skipped for one, _ in judged)
        findings = [skip(one) if one.skipped else judge(one, own, tests) for one, own in judged]
        content: dict[str, Any] = {
            "status": "complete",
            "name": "synthetic",
            "verdict": overall(findings),
            "target": target(),
            "roles": [
                Role(
                    name="victims",
                    source="drawn by hand",
                    count=VICTIMS,
                    classes={"even": 20, HOSTILE: 20},
                    sha256="ab" * 32,
                )
            ],
            "classes": ["even", HOSTILE],
            "victim_labels": [victim % 2 for victim in range(VICTIMS)],
            "victims_shape": [self.channels, self.side, self.side],
            "victims_artifact": self.keep(self.truth),
            "sheet_columns": COLUMNS,
            "baselines": [self.null, self.oracle],
            "findings": findings,
            "cells": [cell for _, own in judged for cell in own],
            "components": [component()],
            "not_tried": [
                "Other cuts (b<i>, c): --set 'threats.0.cut=[\"b<i>\"]'",
                "Whatever nobody thought of",
            ],
            "plan": {"name": "synthetic", "seeds": [0, 1], "target": {"weights": None}},
            "provenance": provenance(),
            "seconds": 75.0,
        }
        self.run.save(Record(**content | changes))
        return self.run


def control(name: str, passed: bool) -> Control:
    return Control(name=name, question=f"Is {name} well?", passed=passed, detail="50 of 50")


def component() -> Component:
    return Component(
        kind="attack",
        name="inversion/decoder",
        options={"steps": 300},
        summary="Train an inverse network.",
        bibtex="@misc{he2019,\n  title = {Inversion <&>},\n  url = {https://example.org/paper}\n}",
    )


def provenance() -> Provenance:
    return Provenance(
        safelight="0.1.0",
        commit="c0ffee",
        python="3.12.0",
        packages={"torch": "2.7.0"},
        machine="Linux x86_64, 2 threads",
        device="cpu",
        started="2026-01-02T03:04:05+00:00",
    )


def target() -> TargetFacts:
    return TargetFacts(
        name="lenet",
        parameters=1234,
        weights_sha256="cd" * 32,
        trained_on="pictures",
        accuracy=Measurement(
            value=0.99,
            low=0.98,
            high=1.0,
            level=0.95,
            n=100,
            seeds=1,
            chance=0.5,
            worse="lower",
            unit="share",
        ),
        cut_points={"conv1": [8, 8, 8], "relu1": [8, 8, 8], "fc1": [10]},
        facts={"n": 60000},
    )


def every_outcome(maker: Maker) -> Run:
    """Return a run with a leak, no evidence, a failed control, a crash and a skipped finding."""
    leak = maker.finding("f-leak", "conv1")
    clean = maker.finding("f-clean", "fc1")
    blind = maker.finding("f-blind", "conv1", attack="inversion/blind", access="no queries")
    crash = maker.finding("f-crash", "relu1", attack="inversion/likelihood", access="white-box")
    barred = maker.finding(
        "f-barred", "fc1", attack="inversion/likelihood", skipped="it needs the weights"
    )
    failed = [control("planted leak", False), control("swapped claims", True)]
    error = Cell(
        id="f-crash-0", finding="f-crash", seed=0, status="error", reason=f"ValueError: {HOSTILE}"
    )
    return maker.record(
        [
            (leak, [maker.cell(leak, 40, 0.95), maker.cell(leak, 38, 0.93, seed=1)]),
            (clean, [maker.cell(clean, 0, 0.38), maker.cell(clean, 1, 0.38, seed=1)]),
            (blind, [maker.cell(blind, 0, 0.30, controls=failed)]),
            (crash, [error]),
            (barred, []),
        ]
    )


def deep(maker: Maker) -> Run:
    """Return a run of one attack at every one of eleven layers, less leaking toward the end."""
    layers = [
        "conv1",
        "relu1",
        "pool1",
        "conv2",
        "relu2",
        "pool2",
        "fc1",
        "relu3",
        "fc2",
        "relu4",
        "fc3",
    ]
    judged = []
    for attack, less in (("inversion/decoder", 1.0), ("inversion/likelihood", 0.8)):
        for depth, where in enumerate(layers):
            one = maker.finding(f"{attack}-{where}", where, attack=attack)
            if where == "relu3" and less == 1.0:
                crash = Cell(
                    id=one.id, finding=one.id, seed=0, status="error", reason="MemoryError: full"
                )
                judged.append((one, [crash]))
                continue
            hits = max(0, round(40 - 5.5 * depth * less))
            ssim = max(0.38, 0.95 - 0.07 * depth * less)
            judged.append((one, [maker.cell(one, hits, ssim)]))
    shapes = {where: [8] for where in layers}
    return maker.record(judged, target=target().model_copy(update={"cut_points": shapes}))


#: Adversaries as (knows, pictures, structure), the attack of each, and how much it names.
ADVERSARIES = [
    ("weights", "same distribution", "known", "inversion/likelihood", 40),
    ("queries", "training set", "known", "inversion/decoder", 38),
    ("queries", "same distribution", "known", "inversion/decoder", 37),
    ("queries", "noise", "known", "inversion/decoder", 20),
    ("cloud", "training set", "known", "inversion/shadow", 14),
    ("cloud", "same distribution", "known", "inversion/shadow", 11),
    ("cloud", "training set", "different", "inversion/shadow", 1),
    ("cloud", "same distribution", "different", "inversion/shadow", 0),
]

ACCESS = {"weights": "white-box", "queries": "black-box queries", "cloud": "no queries"}


def knowing(maker: Maker, *cuts: str) -> Run:
    """Return a run of every adversary at each of these cuts."""
    judged = []
    for knows, pictures, structure, attack, hits in ADVERSARIES:
        for depth, cut in enumerate(cuts):
            options = {"cut": cut, "knows": knows, "pictures": pictures, "structure": structure}
            one = maker.finding(
                f"{knows}-{pictures}-{structure}-{cut}",
                cut,
                attack=attack,
                access=ACCESS[knows],
                threat_options=options | {"sends": 1},
            )
            own = max(0, hits - 9 * depth)
            judged.append((one, [maker.cell(one, own, 0.38 + 0.014 * own)]))
    return maker.record(judged)


def repeated(maker: Maker, *cuts: str) -> Run:
    """Return a run of pictures sent 1 to 64 times with noise, at each of these cuts."""
    judged = []
    for depth, cut in enumerate(cuts):
        for step, sends in enumerate((1, 4, 16, 64)):
            options = {"cut": cut, "knows": "queries", "sends": sends}
            one = maker.finding(f"{cut}-{sends}", cut, threat_options=options)
            hits = max(0, 12 * step - 8 * depth)
            judged.append((one, [maker.cell(one, hits, 0.38 + 0.014 * hits)]))
    return maker.record(judged)
