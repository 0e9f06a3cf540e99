"""Version: a digest of the code that an outcome rests on, and of the libraries below it."""

import hashlib
import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

from benchmarks.machine import DECIDING

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CASES = ("case", "data_faults", "course_faults", "state_faults", "controls", "faulty_trainer", "files", "outcome")
RUNS_OF_AFT = ("machinery", "supervised", "account")
RUNS_OF_OTHERS = ("machinery", "rules", "ruled_step")
TRAINING = ("train", "model", "data", "trainer.py", "errors.py")
"""What of the worker a plain loop of steps rests on."""


@cache
def code_version() -> str:
    """Of everything that decides what aft makes of a run."""
    return _digest([*_python("services"), *_training(), *_here(*CASES, *RUNS_OF_AFT)])


@cache
def peer_version() -> str:
    """Of what decides the runs under other rules, the undisturbed one among them: not on how aft heals."""
    return _digest([*_training(), *_here(*CASES, *RUNS_OF_OTHERS)])


@cache
def model_version() -> str:
    """Of what makes the base model."""
    return _digest(_training())


def _training() -> list[Path]:
    """What trains: the base model, and every run from it."""
    worker = [path for part in TRAINING for path in _python(f"services/worker/aft_worker/{part}")]
    written = [*_python("services/worker/aft_worker/export"), *_python("examples", "tiny_*.py")]
    return [*worker, *written, *_python("shared"), *_here("base_model", "text")]


def _here(*names: str) -> list[Path]:
    return [HERE / f"{name}.py" for name in names]


def _python(part: str, pattern: str = "*.py") -> list[Path]:
    path = ROOT / part
    found = [path] if path.is_file() else sorted(path.rglob(pattern))
    assert found, f"{path} is not there"
    return found


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in dict.fromkeys(files):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    # The texts are the standard library's and a package's; aft itself is in the files.
    libraries = [name for name in (*DECIDING, "chitchat-dataset") if name != "aft"]
    below = [platform.python_version(), *(f"{name} {version(name)}" for name in libraries)]
    digest.update("\n".join(below).encode())
    return digest.hexdigest()[:12]
