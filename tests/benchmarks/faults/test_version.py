"""An outcome is made again when what it rests on has changed."""

from pathlib import Path

import pytest

from benchmarks.faults import version
from benchmarks.faults.version import code_version, model_version, peer_version


def changed_by(path: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Which versions another content of the file would change."""
    changed = set()
    read = Path.read_bytes
    target = version.ROOT / path
    assert target.is_file()
    for digest in (code_version, peer_version, model_version):
        before = digest.__wrapped__()
        with monkeypatch.context() as patched:
            patched.setattr(Path, "read_bytes", lambda self: b"other" if self == target else read(self))
            after = digest.__wrapped__()
        if after != before:
            changed.add(digest.__name__)
    return changed


CODE, PEER, MODEL = "code_version", "peer_version", "model_version"


@pytest.mark.parametrize(
    ("path", "versions"),
    [
        ("services/worker/aft_worker/train/step.py", {CODE, PEER, MODEL}),
        ("services/worker/aft_worker/data/plan.py", {CODE, PEER, MODEL}),
        ("services/worker/aft_worker/trainer.py", {CODE, PEER, MODEL}),
        ("services/worker/aft_worker/model/decoder.py", {CODE, PEER, MODEL}),
        ("shared/aft_contracts/run_spec.py", {CODE, PEER, MODEL}),
        ("benchmarks/faults/base_model.py", {CODE, PEER, MODEL}),
        ("benchmarks/faults/text.py", {CODE, PEER, MODEL}),
        ("examples/tiny_model.py", {CODE, PEER, MODEL}),
        ("benchmarks/faults/controls.py", {CODE, PEER}),
        ("benchmarks/faults/machinery.py", {CODE, PEER}),
        ("benchmarks/faults/ruled_step.py", {PEER}),
        ("benchmarks/faults/rules.py", {PEER}),
        ("services/api/aft_api/healing/planner.py", {CODE}),
        ("services/worker/aft_worker/session.py", {CODE}),
        ("benchmarks/faults/supervised.py", {CODE}),
        ("benchmarks/faults/account.py", {CODE}),
        ("benchmarks/faults/figures.py", set()),
        ("benchmarks/faults/tables.py", set()),
    ],
)
def test_what_a_version_rests_on(path: str, versions: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert changed_by(path, monkeypatch) == versions
