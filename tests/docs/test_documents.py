"""The README's and the tutorial's blocks run as they stand, on a demo with fewer victims."""

import importlib
import re
import runpy
import shlex
import sys
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from safelight.auditing.reproduction import papers
from safelight.auditing.studies import STUDIES
from safelight.cache import Cache
from safelight.cli.main import run
from safelight.plan.plan import parse_plan, presets

ROOT = Path(__file__).parents[2]
DOCUMENTS = {"README": ROOT / "README.md", "tutorial": ROOT / "docs/tutorial.md"}
#: Commands of the tutorial that end with another code than 0.
EXIT_CODES = {"gate": 1}


def blocks(document: str, language: str) -> list[str]:
    """Return the fenced blocks of a language, in order."""
    text = DOCUMENTS[document].read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def small(tmp_path, tmp_path_factory, monkeypatch):
    """A folder to work in, where the demo preset has fewer victims and steps."""
    presets = tmp_path / "package" / "presets"
    presets.mkdir(parents=True)
    for file in (resources.files("safelight.plan") / "presets").iterdir():
        text = file.read_text()
        text = text.replace("count = 3000", "count = 300").replace("count = 200 ", "count = 20 ")
        text = re.sub(r"steps = \d+", "steps = 40", text)
        (presets / file.name).write_text(text)
    monkeypatch.setattr("safelight.plan.plan.PRESETS", presets)
    monkeypatch.setattr("safelight.controls.nulls.TEMPLATE_STEPS", 5)
    monkeypatch.setattr("safelight.attacks.inversion.likelihood.TUNED_ON", 4)
    monkeypatch.setattr("safelight.attacks.inversion.decoder.UNCERTAINTY_STEPS", 20)
    monkeypatch.setenv("SAFELIGHT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def type_in(command: str, monkeypatch) -> int:
    """Run a line as a shell would, in this process."""
    monkeypatch.setattr(sys, "argv", shlex.split(command, comments=True))
    try:
        run()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_tutorials_commands_run(small, monkeypatch):
    commands = [line for block in blocks("tutorial", "sh") for line in block.splitlines()]
    assert len(commands) >= 4
    for command in commands:
        expected = EXIT_CODES.get(command.split()[1], 0)
        assert type_in(command, monkeypatch) == expected, command


def test_the_readmes_python_runs(small, capsys):
    (block,) = blocks("README", "python")
    (small / "block.py").write_text(block)
    runpy.run_path(str(small / "block.py"))
    assert "LEAK critical" in capsys.readouterr().out


def test_the_readmes_plan_is_a_plan():
    (block,) = blocks("README", "toml")
    plan = parse_plan(tomllib.loads(block), "README")
    assert plan.threats[0].options["cut"] == ["features.3", "features.8"]


def test_the_readmes_commands_exist():
    make, use, ask, members = blocks("README", "sh")
    targets = (ROOT / "Makefile").read_text()
    for line in make.splitlines():
        assert re.search(rf"^{line.split()[1]}:", targets, re.MULTILINE), line
    for line in use.splitlines():
        assert line.startswith(("safelight audit plan.toml", "safelight gate runs/"))
    for line in ask.splitlines():
        command, what = line.split()[1:3]
        assert what in (papers() if command == "reproduce" else STUDIES), line
    for line in members.replace("\\\n", "").splitlines():
        command, plan = line.split()[1:3]
        assert command in ("audit", "privacy"), line
        assert plan in presets(), line


def test_contributings_attack_keeps_the_contract(tmp_path, monkeypatch):
    text = (ROOT / "CONTRIBUTING.md").read_text()
    attack, test = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "ridge.py").write_text(attack)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(
        sys.modules, "safelight.attacks.inversion.ridge", importlib.import_module("ridge")
    )
    scope: dict[str, Any] = {}
    exec(compile(test, "test_ridge.py", "exec"), scope)  # noqa: S102 - our own document
    suite = scope["TestRidge"]()
    suite.test_wins_on_a_target_that_leaks_everything(Cache(tmp_path / "a"))
    suite.test_is_at_chance_on_a_target_that_leaks_nothing(Cache(tmp_path / "b"))
    suite.test_needs_everything_that_it_declares(tmp_path / "c")
    suite.test_same_seed_same_claim_and_the_target_stays_as_it_was(Cache(tmp_path / "d"), tmp_path)
    suite.test_has_a_reference_and_says_what_it_does()
    monkeypatch.delitem(sys.modules, "ridge")


def test_every_link_leads_somewhere():
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"
