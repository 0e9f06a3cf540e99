"""The arithmetic of a step, counted by hand."""

from pathlib import Path

from aft_contracts import LoraSpec
from aft_worker.model.load import load_model
from aft_worker.model.mesh import make_mesh
from benchmarks.arithmetic import lora_step_flop
from examples.tiny_model import write_tiny_model


def test_a_lora_step_is_counted_by_hand(tmp_path: Path) -> None:
    """Hidden 32, inner 64, 4 heads and 2 key heads of 8, 2 layers, vocabulary 264; rank 2 on q alone."""
    model_dir = write_tiny_model(tmp_path / "model")
    model = load_model(model_dir, lora=LoraSpec(rank=2, targets=("q_proj",)), seed=0, mesh=make_mesh())
    tokens, scored = 3 * 10, 3 * 9
    dense = 2 * (32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64)
    adapters = 2 * (32 * 2 + 2 * 32)
    attention = 2 * 3 * 55 * 6 * 2 * 4 * 8
    expected = 4 * tokens * dense + 4 * scored * 264 * 32 + 6 * tokens * adapters + attention
    assert lora_step_flop(model, batch_size=3, length=10) == expected
