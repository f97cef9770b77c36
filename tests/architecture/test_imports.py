import ast
from pathlib import Path

import pytest

import safelight

ROOT = Path(safelight.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

GROUND = {"errors", "stats", "catalog", "cache"}
ATTACKED = GROUND | {"plan", "record", "data", "targets", "threats"}

#: Room -> the rooms it may import, beside itself. One way: nothing below names what is above.
MAY_IMPORT = {
    "errors": set(),
    "stats": set(),
    "cache": {"errors"},
    "catalog": {"errors"},
    "plan": {"errors", "catalog"},
    "record": {"errors", "stats"},
    "data": GROUND | {"plan"},
    "targets": GROUND | {"plan", "data"},
    "threats": GROUND | {"plan", "data", "targets"},
    "attacks": ATTACKED - {"record"} | {"metrics"},
    "defenses": ATTACKED - {"record"} | {"metrics"},
    "metrics": GROUND | {"data"},
    "bounds": GROUND | {"record", "data"},
    "encryption": GROUND | {"record", "data", "targets"},
    "filtering": ATTACKED | {"metrics"},
    "controls": ATTACKED - {"record"} | {"metrics"},
    "auditing": ATTACKED | {"attacks", "defenses", "controls", "metrics", "bounds"},
    "reports": {"record", "errors"},
    "cli": ATTACKED | {"auditing", "reports", "attacks", "defenses", "filtering", "encryption"},
    "testing": ATTACKED
    | {"attacks", "defenses", "controls", "metrics", "bounds", "auditing", "reports"},
}

#: The front door and ``python -m safelight`` are rooms of one file on top of all others.
ON_TOP = {"__init__", "__main__"}


def room(path):
    part = path.relative_to(ROOT).parts[0]
    return part.removesuffix(".py")


def imported_rooms(path):
    """Every room that a module imports, wherever in the module it does, with the line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports by dots; name the package"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "safelight" and rest:
                yield rest.split(".")[0], node.lineno


def test_every_room_is_known_to_this_test():
    rooms = {room(path) for path in MODULES}
    assert rooms <= set(MAY_IMPORT) | ON_TOP
    assert {"errors", "data", "targets", "record", "auditing"} <= rooms


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_the_rooms_below_its_own(path):
    own = room(path)
    allowed = set(MAY_IMPORT) if own in ON_TOP else MAY_IMPORT[own] | {own}
    wrong = [f"line {line}: {name}" for name, line in imported_rooms(path) if name not in allowed]
    assert not wrong


def test_the_rule_has_no_circle():
    order = []
    left = {name: set(allowed) for name, allowed in MAY_IMPORT.items()}
    while left:
        free = [name for name, allowed in left.items() if allowed <= set(order)]
        assert free, f"these import each other: {sorted(left)}"
        order += free
        for name in free:
            del left[name]
    assert order.index("record") < order.index("reports")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_imports_torchvision(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not any(name.split(".")[0] == "torchvision" for name in names), node.lineno


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_light_rooms_name_no_heavy_package(path):
    if room(path) not in {"errors", "stats", "catalog", "plan", "record", "reports"}:
        return
    heavy = {"torch", "datasets", "safetensors", "matplotlib"}
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert heavy.isdisjoint(name.split(".")[0] for name in names), node.lineno
