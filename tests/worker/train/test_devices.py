"""Eight devices against one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = """
import json, sys
from pathlib import Path
import jax, numpy as np
from aft_contracts import DetectionSpec, LoraSpec, OptimSpec
from aft_worker.model.load import load_model
from aft_worker.model.mesh import make_mesh
from aft_worker.train.gradients import Lines
from aft_worker.train.evaluate import EvalLoss
from aft_worker.train.state import init_state
from aft_worker.train.step import StepInputs, TrainStep
from examples.tiny_model import write_tiny_model

fsdp, lora, model_dir = int(sys.argv[1]), sys.argv[2] == "lora", Path(sys.argv[3])
mesh = make_mesh(fsdp=fsdp)
model = load_model(write_tiny_model(model_dir), lora=LoraSpec(rank=4) if lora else None, seed=0, mesh=mesh)
step, state = TrainStep(model, OptimSpec(), DetectionSpec(), mesh), init_state(model, OptimSpec(), DetectionSpec())
draw, losses, norms = np.random.default_rng(0), [], []
for index in range(3):
    weights = draw.uniform(0.3, 2.0, (8, 12)).astype(np.float32)
    weights[1, 5:] = 0
    inputs = StepInputs(
        lines=Lines(tokens=draw.integers(0, 264, (8, 12)), loss_weights=weights),
        learning_rate=1e-2, clip_norm=1.0, skip=False,
    )
    state, outputs = step(state, inputs)
    losses += [float(outputs.loss), *outputs.sample_loss.tolist()]
    norms += [float(outputs.grad_norm), *outputs.sample_grad_norm.tolist()]
sums = EvalLoss(model, mesh)(state.trainable, inputs.lines.tokens[:5], weights[:5])
print(json.dumps({
    "devices": jax.device_count(), "losses": losses, "norms": norms, "evaluation": [float(value) for value in sums],
    "compilations": step.compilations,
}))
"""


def train_on(devices: int, fsdp: int, lora: str, tmp_path: Path) -> dict[str, Any]:
    flags = (
        f"--xla_force_host_platform_device_count={devices}",
        "--xla_backend_optimization_level=0",
        # Eight devices on a busy machine of two cores wait for each other longer than XLA's 40 s.
        "--xla_cpu_collective_call_terminate_timeout_seconds=200",
    )
    environment = os.environ | {
        "XLA_FLAGS": " ".join(flags),
        "JAX_PLATFORMS": "cpu",
        "NPROC": "16",  # threads of XLA: with one a core, devices that wait can keep the others from running
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
    }
    arguments = [str(fsdp), lora, str(tmp_path / f"model-{devices}-{fsdp}")]
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], env=environment, capture_output=True, text=True, timeout=240
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("fsdp", "lora"), [(1, "lora"), (2, "full")])
def test_eight_devices_train_like_one(tmp_path: Path, fsdp: int, lora: str) -> None:
    one, eight = train_on(1, 1, lora, tmp_path), train_on(8, fsdp, lora, tmp_path)
    assert (one["devices"], eight["devices"]) == (1, 8)
    assert (one["compilations"], eight["compilations"]) == (1, 1)
    for figure in ("losses", "norms", "evaluation"):
        np.testing.assert_allclose(eight[figure], one[figure], rtol=2e-4)
