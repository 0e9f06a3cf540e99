"""A tiny model, tiny data and a run over them, shared by the worker's tests."""

import gc
import json
import resource
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import pytest

from aft_contracts import RunSpec
from aft_worker.model.mesh import make_mesh
from aft_worker.session import Session
from aft_worker.trainer import load_trainer
from examples.tiny_model import write_tiny_model

MakeSpec = Callable[..., RunSpec]
OpenSession = Callable[..., Session]


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """The rows as a JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def _orbax_leftovers(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Collected when the test is over, its sessions are closed and what Orbax logged holds no traceback any more."""
    yield
    caplog.get_records("call").clear()
    gc.collect()


def leaves_orbax_tasks(test: Callable[..., None]) -> Callable[..., None]:
    """For a test whose save fails inside Orbax, which leaves tasks of a closed event loop to the garbage collector."""
    ignored = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    return ignored(pytest.mark.usefixtures("_orbax_leftovers")(test))


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """Lets no file of this process grow beyond a size: to whoever writes, the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def make_unreadable(path: Path) -> None:
    """Lets every attempt to read a file fail with EIO, as a bad sector does, even for root."""
    link = path.with_name("unreadable")
    link.symlink_to("/proc/self/mem")  # nothing lies at the beginning of a process's memory
    link.replace(path)


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every test compiles the same few programs: JAX keeps them for the session, as a real worker does."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("jax-cache")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that every test of the session may read."""
    return write_tiny_model(tmp_path_factory.mktemp("model"), num_hidden_layers=1)


@pytest.fixture
def make_spec(tiny_model_dir: Path, tmp_path: Path) -> MakeSpec:
    """Makes the spec of a run over two domains; `poison` rows join the first, keywords replace fields of the spec."""

    def make(*, poison: Iterable[Mapping[str, Any]] = (), **replaced: Any) -> RunSpec:
        words = ["red", "green", "blue", "black", "white"]
        text = [{"id": f"t{i}", "text": f"{words[i % 5]} {words[i % 3]} {i}"} for i in range(24)]
        asked = [{"id": f"q{i}", "prompt": f"{i} + 1 =", "completion": f" {i + 1}"} for i in range(16)]
        text_file = write_jsonl(tmp_path / "text.jsonl", [*text, *poison])
        asked_file = write_jsonl(tmp_path / "asked.jsonl", asked)
        fields: dict[str, Any] = {
            "model": {"path": str(tiny_model_dir), "lora": {"rank": 2, "alpha": 4}},
            "data": {
                "domains": {
                    "text": {"path": str(text_file), "weight": 2.0},
                    "asked": {"path": str(asked_file)},
                },
                "evaluation": {"text": str(text_file), "asked": str(asked_file)},
                "max_length": 16,
            },
            "optim": {"steps": 40, "batch_size": 4, "learning_rate": 1e-2, "warmup_steps": 2},
            "detection": {"min_steps": 4},
            "seed": 7,
        }
        return RunSpec.model_validate(fields | replaced)

    return make


@pytest.fixture
def open_session(tmp_path: Path) -> Iterator[OpenSession]:
    """Opens sessions and closes them at the end; `name` is the run's folder, keywords go to the session."""
    sessions = []

    def open_(spec: RunSpec, name: str = "run", **named: Any) -> Session:
        session = Session(load_trainer(spec, make_mesh()), tmp_path / name, **named)
        sessions.append(session)
        return session

    yield open_
    while sessions:  # Emptied, for pytest holds on to `open_` longer than to the test.
        sessions.pop().close()
