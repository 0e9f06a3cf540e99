"""Version: a digest of the code that an outcome rests on."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CASES = ("text", "base_model", "case", "data_faults", "course_faults", "state_faults", "controls", "faulty_trainer")


def code_version() -> str:
    """Of everything that decides what aft makes of a run."""
    sources = [*_python(ROOT / "services"), *_python(ROOT / "shared"), *_cases(), HERE / "supervised.py"]
    return _digest(sources)


def peer_version() -> str:
    """Of what decides the runs under other rules: they do not rest on how aft heals."""
    return _digest([*_python(ROOT / "services/worker/aft_worker/model"), *_cases(), HERE / "rules.py"])


def _cases() -> list[Path]:
    return [HERE / f"{name}.py" for name in CASES]


def _python(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
