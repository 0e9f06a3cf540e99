"""Eight devices against one, in every shape of the mesh, and checkpoints that move from one to the other and back."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from aft_contracts import ComputeType, RunSpec
from aft_worker.train.gradients import BatchGradients
from examples.tiny_model import write_tiny_model
from tests.worker.conftest import write_jsonl
from tests.worker.train.oracle import assert_agrees, vmap_grad
from tests.worker.train.samples import packed_of, samples
from tests.worker.train.ways import DROPPING, Way

pytestmark = pytest.mark.timeout(480)  # three processes that compile for eight devices, on two cores that others use

MESHES = {1: "data=8", 2: "data=4,fsdp=2", 8: "data=1,fsdp=8"}
FORMS = {"lora": {"rank": 4}, "full": None}
ALL_STEPS = [[0, 3], [3, 5], [5, 7]]
COPIES = 4  # of eight samples on four lines: a line for each part on each device

PROGRAM = """
import json, sys
from pathlib import Path
import jax, numpy as np
from aft_contracts import EvaluationSpec, RunSpec, Schedule, WindowSpec
from aft_worker.model.mesh import make_mesh
from aft_worker.session import Session
from aft_worker.train.digest import state_digest
from aft_worker.trainer import load_trainer

def share(tree):
    # Largest part of all arrays' bytes that lies on one device.
    arrays = [leaf for leaf in jax.tree.leaves(tree) if leaf.ndim]
    local = sum(max(shard.data.nbytes for shard in leaf.addressable_shards) for leaf in arrays)
    return local / sum(leaf.nbytes for leaf in arrays)

trainers, outcomes = {}, []
for job in json.loads(sys.argv[1]):
    key = (job["spec"], job["fsdp"])
    if key not in trainers:
        spec = RunSpec.model_validate_json(Path(job["spec"]).read_text())
        trainers[key] = load_trainer(spec, make_mesh(fsdp=job["fsdp"]))
    session = Session(trainers[key], Path(job["folder"]))
    session.seek(job["windows"][0][0], Schedule())
    found, results = state_digest(session._live.state), []
    for start, end in job["windows"]:
        results.append(session.train_window(WindowSpec(
            window_id=f"r:0:{start}", run_id="r", generation=0, index=start, start_step=start,
            num_steps=end - start, schedule=Schedule(),
        )))
    state = session._live.state
    evaluated = session.evaluate(EvaluationSpec(evaluation_id="e", run_id="r", schedule=Schedule(), step=end))
    steps = [step for result in results for step in result.metrics.steps]
    outcomes.append({
        "devices": jax.device_count(),
        "found": found,
        "digests": [result.state_digest for result in results],
        "notes": [note.kind for result in results for note in result.notes],
        "losses": [[step.loss, *[sample.loss for sample in step.samples]] for step in steps],
        "norms": [[step.grad_norm, *[sample.grad_norm for sample in step.samples]] for step in steps],
        "evaluation": [score.loss for score in evaluated.scores.values()],
        "compilations": session.trainer.train_step.compilations,
        "shares": [share(state.trainable), share(state.opt_state)],
    })
    session.close()
print(json.dumps(outcomes))
"""

# One batch of packed lines in two parts on each device.
GRADIENTS_PROGRAM = """
import json, pickle, sys
from pathlib import Path
import jax, numpy as np
from aft_contracts import ComputeType, LoraSpec
from aft_worker.model.load import load_model
from aft_worker.model.mesh import make_mesh
from tests.worker.train.oracle import probed
from tests.worker.train.samples import packed_of, samples
from tests.worker.train.ways import with_moved_adapters

for job in json.loads(sys.argv[1]):
    mesh = make_mesh(fsdp=job["fsdp"])
    lora = job["lora"] and LoraSpec.model_validate(job["lora"])
    model = load_model(Path(job["model"]), lora=lora, seed=0, mesh=mesh, compute=ComputeType(job["compute"]))
    lines, _ = packed_of(samples(copies=job["copies"]))
    figures = probed(with_moved_adapters(model) if lora else model, lines, parts=2, mesh=mesh)
    plain = figures._replace(gradient=jax.tree.leaves(figures.gradient))
    Path(job["out"]).write_bytes(pickle.dumps(jax.tree.map(np.asarray, plain)))
print(json.dumps([{"devices": jax.device_count()}]))
"""


WAYS = {
    "full_tied": Way(config={"tie_word_embeddings": True}),
    "full_untied": Way(config={"tie_word_embeddings": False}),
    "lora_dropout_untied": Way(lora=DROPPING, config={"tie_word_embeddings": False}),
    "full_tied_bfloat16": Way(compute=ComputeType.BFLOAT16, config={"tie_word_embeddings": True}),
}


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """What each job came to: `one` and `eight` by form, `eight` and `moved` by `fsdp` too."""

    one: Mapping[str, dict[str, Any]]
    eight: Mapping[tuple[str, int], dict[str, Any]]
    moved: Mapping[str, dict[str, Any]]
    """A run that one device began, for two steps on eight."""
    back: Mapping[str, dict[str, Any]]
    """The same, on one device again."""


def run_jobs(devices: int, jobs: Sequence[Mapping[str, Any]], program: str = PROGRAM) -> list[dict[str, Any]]:
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
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
    }
    ran = subprocess.run(
        [sys.executable, "-c", program, json.dumps(jobs)], env=environment, capture_output=True, text=True, timeout=230
    )
    assert ran.returncode == 0, ran.stderr[-9000:]
    return list(json.loads(ran.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """All jobs in three processes: what costs is starting JAX and compiling, not training."""
    root = tmp_path_factory.mktemp("devices")
    specs = {form: _write_spec(root, form) for form in FORMS}

    def job(form: str, folder: str, windows: list[list[int]], fsdp: int = 1) -> dict[str, Any]:
        return {"spec": str(specs[form]), "folder": str(root / folder), "windows": windows, "fsdp": fsdp}

    one = run_jobs(1, [job(form, f"one-{form}", ALL_STEPS) for form in FORMS])
    for form in FORMS:
        shutil.copytree(root / f"one-{form}", root / f"moved-{form}")
        for later in (5, 7):
            shutil.rmtree(root / f"moved-{form}/checkpoints/0/{later}")
    shapes = [(form, fsdp) for form in FORMS for fsdp in MESHES]
    eight = run_jobs(
        8,
        [
            *(job(form, f"eight-{form}-{fsdp}", ALL_STEPS[:2], fsdp) for form, fsdp in shapes),
            *(job(form, f"moved-{form}", ALL_STEPS[1:2], 2) for form in FORMS),
        ],
    )
    back = run_jobs(1, [job(form, f"moved-{form}", ALL_STEPS[2:]) for form in FORMS])
    return Outcomes(
        one=dict(zip(FORMS, one, strict=True)),
        eight=dict(zip(shapes, eight[: len(shapes)], strict=True)),
        moved=dict(zip(FORMS, eight[len(shapes) :], strict=True)),
        back=dict(zip(FORMS, back, strict=True)),
    )


def _write_spec(root: Path, form: str) -> Path:
    words = ["red", "green", "blue", "black", "white"]
    rows = [{"text": f"{words[i % 5]} " * (1 + i % 3) + str(i), "weight": 0.5 + i % 4} for i in range(60)]
    spec = RunSpec.model_validate(
        {
            "model": {"path": str(write_tiny_model(root / "model")), "lora": FORMS[form]},
            "data": {
                "domains": {"text": {"path": str(write_jsonl(root / "rows.jsonl", rows))}},
                "evaluation": {"text": str(write_jsonl(root / "held_out.jsonl", rows[:5]))},
                "max_length": 16,
            },
            "optim": {"steps": 20, "batch_size": 8, "learning_rate": 1e-2, "warmup_steps": 1},
            "seed": 3,
        }
    )
    path = root / f"{form}.json"
    path.write_text(spec.model_dump_json())
    return path


@pytest.fixture(scope="module")
def gradients(tmp_path_factory: pytest.TempPathFactory) -> Mapping[tuple[str, int], BatchGradients]:
    """What eight devices say of one batch, by way and `fsdp`."""
    root = tmp_path_factory.mktemp("gradients")
    jobs = {
        (name, fsdp): {
            "model": str(write_tiny_model(root / name, num_hidden_layers=1, **way.config)),
            "lora": way.lora and way.lora.model_dump(mode="json"),
            "compute": way.compute,
            "fsdp": fsdp,
            "copies": COPIES,
            "out": str(root / f"{name}-{fsdp}.pickle"),
        }
        for name, way in WAYS.items()
        for fsdp in MESHES
    }
    assert run_jobs(8, list(jobs.values()), GRADIENTS_PROGRAM) == [{"devices": 8}]
    return {key: pickle.loads(Path(job["out"]).read_bytes()) for key, job in jobs.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("fsdp", MESHES, ids=MESHES.values())
def test_packed_samples_in_parts_on_eight_devices_have_the_figures_of_vmap_grad_on_one(
    gradients: Mapping[tuple[str, int], BatchGradients], load_tiny, name: str, fsdp: int
) -> None:
    way, alone = WAYS[name], samples(copies=COPIES)
    _, places = packed_of(alone)
    expected = vmap_grad(load_tiny(**way.model), alone)
    assert_agrees(gradients[name, fsdp], places, expected, alone, way.compute)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fsdp", MESHES, ids=MESHES.values())
def test_eight_devices_train_like_one(outcomes: Outcomes, form: str, fsdp: int) -> None:
    one, eight = outcomes.one[form], outcomes.eight[form, fsdp]
    assert (one["devices"], eight["devices"]) == (1, 8)
    assert (one["compilations"], eight["compilations"]) == (1, 1)
    np.testing.assert_allclose(eight["losses"], one["losses"][:5], rtol=2e-4)
    np.testing.assert_allclose(eight["norms"], one["norms"][:5], rtol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fsdp", MESHES, ids=MESHES.values())
def test_parameters_and_moments_are_split_over_fsdp(outcomes: Outcomes, form: str, fsdp: int) -> None:
    assert outcomes.eight[form, fsdp]["shares"] == [1 / fsdp, 1 / fsdp]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_moves_to_another_mesh_and_back(outcomes: Outcomes, form: str) -> None:
    one, moved, back = outcomes.one[form], outcomes.moved[form], outcomes.back[form]
    assert (one["devices"], moved["devices"], back["devices"]) == (1, 8, 1)
    assert (moved["found"], back["found"]) == (one["digests"][0], moved["digests"][-1])
    assert (moved["notes"], back["notes"]) == ([], [])
    for figure in ("losses", "norms"):
        np.testing.assert_allclose([*moved[figure], *back[figure]], one[figure][3:], rtol=2e-4)
    np.testing.assert_allclose(back["evaluation"], one["evaluation"], rtol=2e-4)
