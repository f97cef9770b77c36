import ast
import re
from pathlib import Path

import pytest

import safelight

ROOT = Path(safelight.__file__).parent
HOME = ROOT.parents[1]
MODULES = sorted(ROOT.rglob("*.py"))
TEXTS = sorted(
    [
        *MODULES,
        *ROOT.rglob("*.toml"),
        *ROOT.rglob("*.html"),
        *(HOME / "docs").rglob("*.md"),
        *HOME.glob("*.md"),
    ]
)

LONGEST_MODULE = 400
LONGEST_FUNCTION = 60
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "core", "base"}

BRITISH = re.compile(
    r"defence|offence|licence|behaviour|colour|favour|neighbour|honour|labelled|labelling|modelling"
    r"|normalis|regularis|optimis[ae]|optimising|initialis|serialis|summaris|recognis|realis[ei]"
    r"|minimis[ei]|maximis[ei]|generalis|organis|analys(?:e|ed|es|ing)\b|centre|\bgrey|catalogue"
    r"|judgement|artefact|sceptic",
    re.IGNORECASE,
)

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def name_of(path):
    return str(path.relative_to(HOME))


def tree(path):
    return ast.parse(path.read_text())


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=name_of)


@each(MODULES)
def test_a_module_stays_short(path):
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE


@each(MODULES)
def test_a_function_stays_short(path):
    long = {
        f"{node.name} has {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree(path))
        if isinstance(node, FUNCTIONS) and node.end_lineno - node.lineno >= LONGEST_FUNCTION
    }
    assert not long


@each(MODULES)
def test_a_file_and_its_folders_say_what_they_hold(path):
    assert VAGUE.isdisjoint(part.removesuffix(".py") for part in path.relative_to(ROOT).parts)


@each(MODULES)
def test_a_module_asks_no_object_what_it_has(path):
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    asking = [
        node.lineno
        for node in calls
        if isinstance(node.func, ast.Name) and node.func.id == "hasattr"
    ]
    assert not asking


@each(MODULES)
def test_no_error_is_swallowed(path):
    """No bare ``except``, and what catches everything raises it again or tells of it."""
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        assert node.type is not None, f"line {node.lineno}: except without a type"
        caught = {one.id for one in ast.walk(node.type) if isinstance(one, ast.Name)}
        told = {one.id for step in node.body for one in ast.walk(step) if isinstance(one, ast.Name)}
        passed_on = node.name in told or any(isinstance(one, ast.Raise) for one in ast.walk(node))
        assert passed_on or caught.isdisjoint({"Exception", "BaseException"}), f"line {node.lineno}"


@each(MODULES)
def test_everything_public_has_a_docstring(path):
    module = tree(path)
    assert ast.get_docstring(module), "the module has none"
    scopes = [module, *(node for node in module.body if isinstance(node, ast.ClassDef))]
    bare = [
        node.name
        for scope in scopes
        for node in scope.body
        if isinstance(node, (*FUNCTIONS, ast.ClassDef))
        and not node.name.startswith("_")
        and not getattr(scope, "name", "").startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not bare


@each(MODULES)
def test_everything_public_is_typed(path):
    bare = []
    for node in ast.walk(tree(path)):
        if isinstance(node, FUNCTIONS) and not node.name.startswith("_"):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            untyped = [one.arg for one in given if one.annotation is None]
            if node.returns is None or set(untyped) - {"self", "cls"}:
                bare.append(node.name)
    assert not bare


@each(TEXTS)
def test_spelling_is_american(path):
    found = [
        f"line {number}: {match.group()}"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for match in BRITISH.finditer(line)
    ]
    assert not found


@each(TEXTS)
def test_nothing_names_a_folder_of_the_machine_it_was_written_on(path):
    assert not re.search(r"(?<![\w.])/(work|home/\w+|root|Users)/", path.read_text())


@each(MODULES)
def test_messages_of_errors_are_written_on_one_line(path):
    """No message that a module raises holds a line break of its own."""
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
            continue
        texts = [
            one.value
            for given in node.exc.args
            for one in ast.walk(given)
            if isinstance(one, ast.Constant) and isinstance(one.value, str)
        ]
        assert not any("\n" in text and text != "\n" for text in texts), f"line {node.lineno}"


def test_every_folder_of_modules_is_a_package():
    folders = {path.parent for path in MODULES}
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_no_test_files_share_a_name():
    names = [path.name for path in (HOME / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))
