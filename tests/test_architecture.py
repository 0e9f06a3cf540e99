"""The arrows of the house, read from the imports themselves."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {
    "aft_contracts": ROOT / "shared/aft_contracts",
    "aft_api": ROOT / "services/api/aft_api",
    "aft_worker": ROOT / "services/worker/aft_worker",
    "aft_cli": ROOT / "cli/aft_cli",
}
DEVICE = {"jax", "jaxlib", "flax", "optax", "orbax", "jaxtyping"}
SQL = {"sqlalchemy", "alembic", "psycopg", "psycopg_pool", "aiosqlite", "sqlite3"}
EFFECTS = {"httpx", "aiohttp", "fastapi", "langgraph", "structlog", "asyncio", "os", "pathlib", "time", "random"} | SQL


def modules(room: str) -> list[Path]:
    """All modules of a room."""
    return sorted(ROOMS[room].rglob("*.py"))


def imports(path: Path, *, at_top_only: bool = False) -> Iterator[str]:
    """Dotted names that a module imports, relative ones made absolute."""
    tree = ast.parse(path.read_text())
    for node in tree.body if at_top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "aft_contracts" if node.level else node.module or ""


def roots(path: Path, *, at_top_only: bool = False) -> set[str]:
    """Top-level packages that a module imports."""
    return {name.split(".")[0] for name in imports(path, at_top_only=at_top_only)}


@pytest.mark.parametrize(
    ("room", "strangers"),
    [
        ("aft_contracts", {"aft_api", "aft_worker", "aft_cli"}),
        ("aft_api", {"aft_worker", "aft_cli"} | DEVICE),
        ("aft_worker", {"aft_api", "aft_cli"} | SQL),
        ("aft_cli", DEVICE | SQL),
    ],
)
def test_rooms_do_not_know_strangers(room: str, strangers: set[str]) -> None:
    assert {str(path.relative_to(ROOT)): found for path in modules(room) if (found := roots(path) & strangers)} == {}


def test_cli_starts_without_loading_a_service() -> None:
    services = {"aft_api", "aft_worker"}
    assert [path.name for path in modules("aft_cli") if roots(path, at_top_only=True) & services] == []


def test_contracts_import_pydantic_and_the_standard_library_only() -> None:
    allowed = {
        "aft_contracts",
        "pydantic",
        "pydantic_core",
        "collections",
        "datetime",
        "enum",
        "hashlib",
        "json",
        "math",
        "re",
        "typing",
        "zoneinfo",
    }
    assert {name for path in modules("aft_contracts") for name in roots(path)} <= allowed


def test_healing_has_no_effects() -> None:
    healing = ROOMS["aft_api"] / "healing"
    assert {path.name: found for path in healing.rglob("*.py") if (found := roots(path) & EFFECTS)} == {}
    allowed = ("aft_api.healing", "aft_api.errors")
    reached = {name for path in healing.rglob("*.py") for name in imports(path) if name.startswith("aft_api")}
    assert {name for name in reached if not name.startswith(allowed)} == set()


def test_sql_is_spoken_in_db_and_repositories_only() -> None:
    speakers = {
        str(path.relative_to(ROOMS["aft_api"]))
        for path in modules("aft_api")
        if {name for name in imports(path) if name == "sqlalchemy" or name.startswith("sqlalchemy.sql")}
    }
    repositories = {f"runs/{name}.py" for name in (
        "repository", "leases", "schedules", "standing", "events", "windows", "commands", "diagnoses", "evaluations",
        "view",
    )}  # fmt: skip
    assert {name for name in speakers if not name.startswith("db/")} <= repositories | {
        "reviews/repository.py",
        "notify/outbox.py",
        "notify/backlog.py",
        "notify/retention.py",
        "notify/targets.py",
        "workers/registry.py",
        "workers/queue.py",
        "access/repository.py",
    }


def test_only_the_app_wires_things() -> None:
    builders = {"open_store", "open_saver", "build_loop", "Fleet", "Dispatcher"}
    callers = {
        path.name
        for path in modules("aft_api")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in builders
    }
    assert callers == {"app.py", "local.py"}  # the second opens the store for commands on this machine, without an API


def test_files_carry_a_noun() -> None:
    vague = re.compile(r"^(utils?|helpers?|common|core|misc|manager)s?$")
    assert [str(p) for room in ROOMS for p in ROOMS[room].rglob("*") if vague.match(p.stem)] == []


def test_services_do_not_know_how_the_benchmark_makes_its_faults() -> None:
    makers = [*(ROOT / "benchmarks/faults").glob("*_faults.py"), ROOT / "benchmarks/faults/controls.py"]
    classes = [
        node for path in makers for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)
    ]
    named = [
        line.value.value
        for node in classes
        for line in node.body
        if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
    ]
    assert len(named) >= 18
    assert {"garbage_tokens", "hard_rare_rows"} <= set(named)
    for room in ("aft_api", "aft_worker", "aft_contracts"):
        for path in modules(room):
            assert not roots(path) & {"benchmarks", "examples", "tests"}, path
            assert [name for name in named if name in path.read_text()] == [], path
