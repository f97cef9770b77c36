"""Small synthetic cells, findings and records, for every test of this room."""

import pytest

from safelight.record.record import (
    Baseline,
    Cell,
    Control,
    Finding,
    Provenance,
    Record,
    Role,
    TargetFacts,
    Verdict,
)

OPEN = Verdict(outcome="INCONCLUSIVE", severity="none", confidence="low", reason="not run yet")


def control(name="planted leak", passed=True):
    return Control(name=name, question="?", passed=passed, detail=f"{name} detail")


def finding(id="f", **more):
    given = {
        "threat": "split_inference",
        "threat_options": {"cut": "conv1"},
        "attack": "inversion/decoder",
        "attack_options": {},
        "where": "conv1",
        "access": "black-box queries",
        "verdict": OPEN,
    }
    return Finding(id=id, **(given | more))


def verdict(outcome="LEAK", severity="none", confidence="medium", reason="because"):
    return Verdict(outcome=outcome, severity=severity, confidence=confidence, reason=reason)


def cell(named=0.0, gain=0.0, beyond=None, *, n=100, seed=0, controls=None, **more):
    """One cell: a share of named victims, a mean gain with some spread, a gain over nearest."""
    hits = round(named * n)
    spread = [0.01 * (-1) ** i for i in range(n)]
    beyond = gain - 0.2 if beyond is None else beyond
    scores = {
        "named": [1.0] * hits + [0.0] * (n - hits),
        "rank": [1.0] * hits + [50.0] * (n - hits),
        "gain": [gain + one for one in spread],
        "gain over nearest": [beyond + one for one in spread],
        "ssim": [0.4 + gain + one for one in spread],
        "psnr": [10.0 + one for one in spread],
        "mse": [0.1 + one for one in spread],
    }
    if controls is None:
        controls = [control(), control("swapped claims")]
    given = {"id": f"c{seed}", "finding": "f", "seed": seed, "status": "ok", "scores": scores}
    return Cell(**(given | {"controls": controls, "queries": 10, "seconds": 1.5} | more))


def record(findings=(), cells=(), **more):
    given = {
        "status": "complete",
        "name": "test",
        "verdict": verdict(),
        "target": TargetFacts(
            name="lenet",
            parameters=45278,
            weights_sha256="0" * 64,
            trained_on="MNIST",
            accuracy=None,
            cut_points={"conv1": [8, 24, 24]},
            facts={},
        ),
        "roles": [Role(name="victims", source="m", count=2, classes={"ä": 2}, sha256="1" * 64)],
        "classes": ["ä"],
        "victim_labels": [0, 0],
        "victims_shape": [1, 28, 28],
        "victims_artifact": "",
        "sheet_columns": 25,
        "baselines": [
            Baseline(
                name="black",
                summary="a black picture",
                oracle=False,
                scores={"ssim": [0.125, 0.25]},
                artifact="",
            )
        ],
        "findings": list(findings),
        "cells": list(cells),
        "components": [],
        "not_tried": [],
        "plan": {},
        "provenance": Provenance(
            safelight="0",
            commit="",
            python="3",
            packages={},
            machine="m",
            device="cpu",
            started="2025-01-01T00:00:00+00:00",
        ),
        "seconds": 1.0,
    }
    return Record(**(given | more))


@pytest.fixture
def make():
    """The makers above, by name: ``make.cell(...)``, ``make.record(...)``."""

    class Make:
        pass

    for maker in (control, finding, verdict, cell, record):
        setattr(Make, maker.__name__, staticmethod(maker))
    return Make
