"""Runs over models of families that are not built like Llama."""

from pathlib import Path

import pytest

from aft_contracts import DataSpec, Schedule, WindowSpec
from aft_worker.check import check_spec
from aft_worker.model.errors import TextTooLong
from aft_worker.model.mesh import make_mesh
from aft_worker.trainer import load_trainer
from examples.tiny_model import write_tiny_model
from tests.worker.conftest import MakeSpec, OpenSession

LORA = {"rank": 4, "alpha": 8}


def packed(data: DataSpec) -> DataSpec:
    return data.model_copy(update={"packing": True, "max_packed_rows": 3})


@pytest.mark.parametrize("model_type", ["gemma3_text", "gpt2"])
def test_packed_window_learns(tmp_path: Path, make_spec: MakeSpec, open_session: OpenSession, model_type: str) -> None:
    model_dir = write_tiny_model(tmp_path / "model", model_type=model_type)
    spec = make_spec(model={"path": str(model_dir), "lora": LORA})
    session = open_session(spec.model_copy(update={"data": packed(spec.data)}))
    window = WindowSpec(
        window_id="r:0:0", run_id="r", generation=0, index=0, start_step=0, num_steps=12, schedule=Schedule()
    )
    steps = session.train_window(window).metrics.steps
    assert all(step.applied for step in steps)
    assert sum(step.loss for step in steps[-3:]) < 0.9 * sum(step.loss for step in steps[:3])


def test_texts_beyond_the_learned_positions_are_refused_at_the_door(tmp_path: Path, make_spec: MakeSpec) -> None:
    model_dir = write_tiny_model(tmp_path / "model", model_type="gpt2", n_positions=15)
    spec = make_spec(model={"path": str(model_dir), "lora": LORA})
    with pytest.raises(TextTooLong, match=r"set data.max_length to at most 15"):
        check_spec(spec)
    with pytest.raises(TextTooLong, match=r"cut to 16 tokens"):
        load_trainer(spec, make_mesh())
