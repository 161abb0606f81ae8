"""Imports go one way, and nothing in the package can run code that came with data or weights."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "rung"

# Low to high: a unit may import its own layer and those above it in this table. The units of a `blind` layer may not
# import each other: what one needs of the other is passed in.
LAYERS = (
    ("errors", "types", "config"),
    ("data", "models", "metrics"),
    ("compute",),
    ("tasks",),
    ("methods", "objectives"),
    ("engine", "evaluate"),
    ("endpoints",),
    ("run", "artifact", "base"),
    ("ladder", "export", "serve", "synth"),
    ("recipes",),
    ("cli", "api"),
    ("__init__", "__main__"),
)
BLIND = ({"methods", "objectives"}, {"engine", "evaluate"})
RANK = {unit: rank for rank, layer in enumerate(LAYERS) for unit in layer}

BANNED_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}
BANNED_ATTRIBUTES = {("torch", "load"), ("os", "system"), ("os", "popen")}
BANNED_CALLS = {"eval", "exec"}
BANNED_TRUE = {"shell", "trust_remote_code"}


def python_files() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def unit_of(path: Path) -> str:
    """The top-level folder or module that a file belongs to."""
    first = path.relative_to(SRC).parts[0]
    return first.removesuffix(".py")


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def running_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes that can run: function bodies too, `if TYPE_CHECKING:` bodies not."""
    if isinstance(node, ast.If) and is_type_checking(node):
        for child in node.orelse:
            yield from running_nodes(child)
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from running_nodes(child)


def absolute(node: ast.ImportFrom, package: list[str]) -> list[str]:
    base = package[: len(package) - node.level + 1] if node.level else []
    return base + (node.module.split(".") if node.module else [])


def imported(tree: ast.Module, package: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Line and dotted parts of every import that runs; `package` is the folder's own dotted name."""
    for node in running_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(node, package)
            yield from ((node.lineno, [*module, alias.name]) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            target = node.args[0]
            if isinstance(target, ast.Constant) and isinstance(target.value, str):
                yield node.lineno, target.value.split(".")


def rung_imports(tree: ast.Module, package: list[str]) -> Iterator[tuple[int, str]]:
    """Line and unit of every import of the package itself; the package's own version has no layer."""
    for line, parts in imported(tree, package):
        if parts[0] == "rung" and parts[1:2] != ["__version__"]:
            yield line, parts[1] if len(parts) > 1 and parts[1] in RANK else "__init__"


def wrong_way(unit: str, target: str) -> bool:
    blind = any(unit in pair and target in pair for pair in BLIND)
    return unit != target and (RANK[target] > RANK[unit] or blind)


def unsafe(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of everything that could run code out of a file."""
    for line, parts in imported(tree, []):
        if parts[0] in BANNED_MODULES:
            yield line, parts[0]
        if tuple(parts[:2]) in BANNED_ATTRIBUTES:
            yield line, ".".join(parts[:2])
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (node.value.id, node.attr) in BANNED_ATTRIBUTES:
                yield node.lineno, f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in BANNED_CALLS:
                yield node.lineno, f"{node.func.id}()"
            for keyword in node.keywords:
                off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg in BANNED_TRUE and not off:
                    yield keyword.value.lineno, f"{keyword.arg}={ast.unparse(keyword.value)}"


def test_every_unit_has_a_layer() -> None:
    units = {unit_of(path) for path in python_files()}
    assert units - set(RANK) == set(), "name the layer of a new unit in LAYERS"


def test_imports_go_one_way() -> None:
    wrong = []
    for path in python_files():
        package = ["rung", *path.relative_to(SRC).parent.parts]
        for line, target in rung_imports(ast.parse(path.read_text(encoding="utf-8")), package):
            if wrong_way(unit_of(path), target):
                wrong.append(f"{path.relative_to(SRC)}:{line}: {unit_of(path)} must not import {target}")
    assert not wrong, "\n".join(wrong)


def test_no_two_units_import_each_other() -> None:
    edges = {
        (unit_of(path), target)
        for path in python_files()
        for _, target in rung_imports(
            ast.parse(path.read_text(encoding="utf-8")), ["rung", *path.relative_to(SRC).parent.parts]
        )
    }
    both = sorted((a, b) for a, b in edges if a < b and (b, a) in edges)
    assert not both, f"units that import each other: {both}"


def test_nothing_runs_code_from_files() -> None:
    found = [
        f"{path.relative_to(SRC)}:{line}: {name}"
        for path in python_files()
        for line, name in unsafe(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "targets"),
    [
        ("from rung.engine.fsio import write_text", ["engine"]),
        ("def f():\n    import rung.cli.app", ["cli"]),
        ("from ..run import execute", ["run"]),
        ("from . import losses", ["evaluate"]),
        ("from rung import climb", ["__init__"]),
        ("from rung import __version__", []),
        ("from rung import types", ["types"]),
        ("if TYPE_CHECKING:\n    from rung.run import execute", []),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    from rung.run import execute", ["run"]),
        ("importlib.import_module('rung.serve.app')", ["serve"]),
        ("import torch", []),
    ],
)
def test_the_check_sees_imports(source: str, targets: list[str]) -> None:
    assert [target for _, target in rung_imports(ast.parse(source), ["rung", "evaluate"])] == targets


@pytest.mark.parametrize(
    ("unit", "target", "wrong"),
    [
        ("methods", "objectives", True),
        ("evaluate", "engine", True),
        ("data", "tasks", True),
        ("models", "data", False),
        ("tasks", "errors", False),
        ("ladder", "serve", False),
    ],
)
def test_the_check_knows_the_direction(unit: str, target: str, wrong: bool) -> None:
    assert wrong_way(unit, target) is wrong


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import pickle", ["pickle"]),
        ("from pickle import loads", ["pickle"]),
        ("from torch import load", ["torch.load"]),
        ("torch.load(path)", ["torch.load"]),
        ("os.system('ls')", ["os.system"]),
        ("eval(text)", ["eval()"]),
        ("subprocess.run(command, shell=True)", ["shell=True"]),
        ("AutoModel.from_pretrained(name, trust_remote_code=trust)", ["trust_remote_code=trust"]),
        ("model.eval(); subprocess.run(command, shell=False)", []),
    ],
)
def test_the_check_sees_unsafe_calls(source: str, names: list[str]) -> None:
    assert [name for _, name in unsafe(ast.parse(source))] == names
