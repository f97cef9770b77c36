"""Every component that the catalog finds inherits its contract, and has its page."""

import importlib
from pathlib import Path

import pytest

from safelight import catalog
from safelight.testing.answers import AnswersContract
from safelight.testing.attacks import AttackContract
from safelight.testing.class_level import ClassLevelContract
from safelight.testing.defenses import GeneratorDefenseContract, TrainingDefenseContract
from safelight.testing.extraction import ExtractionContract, ReleaseContract
from safelight.testing.generators import GeneratorContract, ReleasedGeneratorContract
from safelight.testing.membership import GameContract, MembershipContract
from safelight.testing.releases import ReleaseDefenseContract
from safelight.testing.threats import ThreatContract

ROOT = Path(__file__).parents[2]
CONTRACTS = {
    "attack": (
        (
            AttackContract,
            AnswersContract,
            ClassLevelContract,
            MembershipContract,
            ExtractionContract,
            GeneratorContract,
        ),
        "attack",
        ROOT / "tests/attacks",
    ),
    "defense": (
        (ReleaseDefenseContract, TrainingDefenseContract, GeneratorDefenseContract),
        "defense",
        ROOT / "tests/defenses",
    ),
    "threat": (
        (ThreatContract, GameContract, ReleaseContract, ReleasedGeneratorContract),
        "threat",
        ROOT / "tests/threats",
    ),
}


@pytest.mark.parametrize("kind", CONTRACTS)
def test_every_component_is_held_to_its_contract(kind, monkeypatch):
    contracts, attribute, folder = CONTRACTS[kind]
    monkeypatch.syspath_prepend(str(folder))
    held = set()
    for file in sorted(folder.glob("test_*.py")):
        module = importlib.import_module(file.stem)
        held |= {
            catalog.name_of(getattr(suite, attribute))
            for suite in vars(module).values()
            if isinstance(suite, type) and issubclass(suite, contracts) and suite not in contracts
        }
    assert held == set(catalog.names(kind))


@pytest.mark.parametrize("kind", catalog.ROOMS)
def test_every_component_has_its_page_and_the_page_is_up_to_date(kind):
    for name in catalog.names(kind):
        page = ROOT / f"docs/components/{kind}-{name.replace('/', '-')}.md"
        assert page.read_text() == catalog.explain(kind, name), "run: make docs"
