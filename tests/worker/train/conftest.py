"""Tiny models and batches for the training tests."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aft_contracts import ComputeType, LoraSpec, Remat
from aft_worker.model.load import LoadedModel, load_model
from aft_worker.model.mesh import make_mesh
from aft_worker.train.gradients import Lines
from aft_worker.train.step import StepInputs
from examples.tiny_model import write_tiny_model
from tests.worker.train.ways import with_moved_adapters

CACHE = Path(os.environ.get("AFT_CACHE") or Path(__file__).parents[3] / ".cache") / "jax"

LoadTiny = Callable[..., LoadedModel]
MakeInputs = Callable[..., StepInputs]


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Programs compiled by one test are found again by the next, and by the next run of the tests."""
    settings = {
        "jax_compilation_cache_dir": str(CACHE),
        "jax_persistent_cache_min_compile_time_secs": 0.2,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture
def load_tiny(tmp_path: Path) -> LoadTiny:
    """Writes a tiny model and loads it; adapters have a B that is not zero unless they are to be `fresh`."""

    def load(
        *,
        lora: LoraSpec | None = None,
        fresh: bool = False,
        compute: ComputeType = ComputeType.FLOAT32,
        remat: Remat = Remat.SELECTIVE,
        **config: object,
    ) -> LoadedModel:
        model_dir = write_tiny_model(tmp_path / "model", **config)
        model = load_model(model_dir, lora=lora, seed=0, mesh=make_mesh(), compute=compute, remat=remat)
        return model if lora is None or fresh else with_moved_adapters(model)

    return load


@pytest.fixture
def make_inputs() -> MakeInputs:
    """Makes a batch with repeated tokens, padding on one row, a masked prompt on another and unequal weights."""

    def make(seed: int = 0, rows: int = 4, length: int = 12, **replaced: object) -> StepInputs:
        rng = np.random.default_rng(seed)
        tokens = rng.integers(0, 64, (rows, length))
        tokens[:, 3] = tokens[:, 1]
        weights = rng.uniform(0.3, 2.0, (rows, length))
        weights[1, 8:] = 0.0
        weights[2, :5] = 0.0
        lines = Lines(tokens=jnp.asarray(tokens, jnp.int32), loss_weights=jnp.asarray(weights, jnp.float32))
        of_lines = {name: replaced.pop(name) for name in ("tokens", "loss_weights") if name in replaced}
        inputs = StepInputs(
            lines=replace(lines, **of_lines),
            learning_rate=jnp.float32(1e-3),
            clip_norm=jnp.float32(1.0),
            skip=jnp.bool(False),
        )
        return replace(inputs, **replaced)

    return make
