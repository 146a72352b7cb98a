"""Data flows one way: each layer of the package may import those before it, and no other."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "record_presence"
FOLDER = Path(__file__).parents[1] / "app"
LAYERS = (
    *("presence", "redis_client", "tokens", "identity", "metrics", "safe_writes", "contrib", "api"),
    *("versioned", "server", "cli", "demo", "testing"),
)
# Modules that stand beside the layers: what any of them may read, and what puts them together.
SETTINGS, TOP = f"{PACKAGE}.settings", {PACKAGE, f"{PACKAGE}.factory"}
# Where a process starts: these make the application that all layers are put together into.
ENTRY_POINTS = {f"{PACKAGE}.{name}" for name in ("server.wsgi", "cli.main", "cli.doctor", "testing")}
# Libraries that a layer leaves to another one.
FOREIGN = {
    "presence": {"flask", "werkzeug", "click", "marshmallow", "gunicorn", "jwt", "sqlalchemy", "gevent"},
    "redis_client": {"flask", "werkzeug", "click", "marshmallow", "gunicorn", "jwt", "sqlalchemy"},
    "tokens": {"flask", "werkzeug", "click", "redis", "fakeredis", "marshmallow", "gunicorn", "sqlalchemy"},
    "identity": {"redis", "fakeredis", "marshmallow", "gunicorn", "sqlalchemy", "gevent"},
    "metrics": {"redis", "fakeredis", "flask", "marshmallow", "gunicorn", "sqlalchemy", "jwt", "gevent"},
    "safe_writes": {"redis", "fakeredis", "flask", "marshmallow", "gunicorn", "sqlalchemy", "jwt", "gevent"},
    "contrib": {"redis", "fakeredis", "flask", "marshmallow", "gunicorn", "sqlalchemy", "jwt", "gevent"},
    "api": {"redis", "fakeredis", "sqlalchemy", "jwt", "gunicorn", "gevent"},
    "versioned": {"redis", "fakeredis", "gunicorn", "gevent"},
    "cli": {"fakeredis", "sqlalchemy", "jwt"},
    "demo": {"redis", "fakeredis", "gunicorn", "gevent"},
    "testing": {"redis", "fakeredis", "gunicorn", "sqlalchemy", "gevent"},
    "server": {"redis", "fakeredis", "marshmallow", "sqlalchemy", "jwt"},
}


def name_of(path):
    parts = (PACKAGE, *path.relative_to(FOLDER).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# Neither is a module of ours: the recipes are for applications in other frameworks to copy.
NOT_MODULES = {"node_modules", "recipes"}
MODULES = {name_of(path): path for path in sorted(FOLDER.rglob("*.py")) if not NOT_MODULES & set(path.parts)}


def imports_of(tree, module, *, is_package=False, modules=MODULES):
    """Every module that this one imports, wherever in the file: ours whole, others by their first name."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{source}.{alias.name}" for alias in node.names]
            names = [name if name in modules else source for name in names]
        else:
            continue
        found.update(name if name.split(".")[0] == PACKAGE else name.split(".")[0] for name in names)
    return found


IMPORTS = {
    name: imports_of(ast.parse(path.read_text("utf-8")), name, is_package=path.stem == "__init__")
    for name, path in MODULES.items()
}


def layer_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else None


def modules_of(layer):
    return {name: imported for name, imported in IMPORTS.items() if layer_of(name) == layer}


def test_every_module_is_in_a_layer():
    assert {name for name in MODULES if layer_of(name) is None} == {SETTINGS, *TOP}


def test_every_layer_has_modules():
    assert [layer for layer in LAYERS if not modules_of(layer)] == []


@pytest.mark.parametrize("layer", LAYERS)
def test_layer_imports_no_layer_above_it(layer):
    above = LAYERS[LAYERS.index(layer) + 1 :]
    crossings = {
        (name, imported)
        for name, imports in modules_of(layer).items()
        for imported in imports
        if layer_of(imported) in above or (imported in TOP and name not in ENTRY_POINTS)
    }

    assert crossings == set()


@pytest.mark.parametrize("layer", LAYERS)
def test_layer_leaves_other_libraries_to_their_layers(layer):
    crossings = {
        (name, imported)
        for name, imports in modules_of(layer).items()
        for imported in imports & (FOREIGN[layer] | (set() if layer == "contrib" else {"django"}))
    }

    assert crossings == set()


def test_domain_imports_nothing_of_ours_but_itself():
    outside = {
        (name, imported)
        for name, imports in modules_of("presence").items()
        for imported in imports
        if imported.split(".")[0] == PACKAGE and layer_of(imported) != "presence"
    }

    assert outside == set()


def test_imports_have_no_circle():
    graph = {name: imports & set(MODULES) - {name} for name, imports in IMPORTS.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(f"a circle of imports: {' -> '.join(circle.args[1])}")


def test_package_imports_itself_only_by_relative_names():
    absolute = {
        (name, imported.name)
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0)
        for imported in ([ast.alias(node.module)] if isinstance(node, ast.ImportFrom) else node.names)
        if imported.name.split(".")[0] in (PACKAGE, "app")
    }

    assert absolute == set()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import redis.exceptions as errors", "redis"),
        ("from flask import g", "flask"),
        ("from record_presence.api import openapi", "record_presence.api.openapi"),
        ("from . import records", "record_presence.presence.records"),
        ("from .records import Record", "record_presence.presence.records"),
        ("from ..identity import caller", "record_presence.identity.caller"),
        ("def late():\n    import flask", "flask"),
    ],
)
def test_every_way_to_import_is_seen(line, expected):
    modules = {f"{PACKAGE}.{name}" for name in ("api.openapi", "presence.records", "identity.caller")}

    assert imports_of(ast.parse(line), f"{PACKAGE}.presence.service", modules=modules) == {expected}
