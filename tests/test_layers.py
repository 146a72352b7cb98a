"""Imports flow one way: presence knows nothing, identity knows presence, api knows both."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ["presence", "identity", "api", "versioned", "demo"]  # each may import those before it
FOREIGN = {
    "presence": {"flask", "werkzeug", "marshmallow", "gunicorn", "jwt", "sqlalchemy", "flask_sqlalchemy"},
    "identity": {"redis", "fakeredis", "marshmallow", "gunicorn", "sqlalchemy"},
    "api": {"redis", "fakeredis", "sqlalchemy", "jwt"},
    "versioned": {"redis", "fakeredis"},
    "demo": {"redis", "fakeredis"},
}


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted((ROOT / "app").rglob("*.py"))}


def imports_of(tree, module, modules=MODULES):
    """Every module that this one imports, wherever in the file: ours whole, others by their first name."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".")[: -node.level or None] if node.level else []
            source = ".".join([*package, *([node.module] if node.module else [])])
            names = [f"{source}.{alias.name}" for alias in node.names]
            names = [name if name in modules else source for name in names]
        else:
            continue
        found.update(name if name.split(".")[0] == "app" else name.split(".")[0] for name in names)
    return found


IMPORTS = {name: imports_of(ast.parse(path.read_text("utf-8")), name) for name, path in MODULES.items()}


def room_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else None


def modules_of(room):
    return {name: imported for name, imported in IMPORTS.items() if room_of(name) == room}


def test_every_room_has_modules():
    assert [room for room in ROOMS if not modules_of(room)] == []


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_no_room_above_it(room):
    above = ROOMS[ROOMS.index(room) + 1 :]
    crossings = {
        (name, imported)
        for name, imports in modules_of(room).items()
        for imported in imports
        if room_of(imported) in above
    }

    assert crossings == set()


@pytest.mark.parametrize("room", ROOMS)
def test_room_leaves_other_peoples_libraries_to_their_rooms(room):
    crossings = {
        (name, imported) for name, imports in modules_of(room).items() for imported in imports & FOREIGN[room]
    }

    assert crossings == set()


def test_domain_imports_nothing_of_ours_but_itself():
    outside = {
        (name, imported)
        for name, imports in modules_of("presence").items()
        for imported in imports
        if imported.split(".")[0] == "app" and room_of(imported) != "presence"
    }

    assert outside == set()


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_in_a_room_imports_what_puts_the_rooms_together(room):
    assert [
        name for name, imports in modules_of(room).items() if imports & {"app", "app.factory", "wsgi"}
    ] == []


def test_imports_have_no_circle():
    graph = {name: imports & set(MODULES) - {name} for name, imports in IMPORTS.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(f"a circle of imports: {' -> '.join(circle.args[1])}")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import redis.exceptions as errors", "redis"),
        ("from flask import g", "flask"),
        ("from app.api import openapi", "app.api.openapi"),
        ("from app.presence.records import Record", "app.presence.records"),
        ("from . import records", "app.presence.records"),
        ("from .records import Record", "app.presence.records"),
        ("from ..identity import caller", "app.identity.caller"),
        ("def late():\n    import flask", "flask"),
    ],
)
def test_every_way_to_import_is_seen(line, expected):
    modules = {"app.api.openapi", "app.presence.records", "app.identity.caller"}

    assert imports_of(ast.parse(line), "app.presence.service", modules) == {expected}
