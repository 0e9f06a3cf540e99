"""The same model directories in aft."""

from functools import partial
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from aft_contracts import LoraSpec
from aft_worker.model.load import LoadedModel, load_model
from aft_worker.model.mesh import make_mesh


def load(model_dir: Path, lora: LoraSpec | None = None) -> LoadedModel:
    """The model as aft loads it."""
    return load_model(model_dir, lora=lora, seed=0, mesh=make_mesh())


def logits_of(model: LoadedModel, tokens: np.ndarray) -> np.ndarray:
    """What it says of `tokens`."""

    def run(trainable: nnx.State, frozen: nnx.State) -> jax.Array:
        return nnx.merge(model.graphdef, trainable, frozen).logits(tokens)

    # Most of the time goes into LLVM's optimisations of a program that runs once.
    quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    return np.asarray(quick_jit(run)(model.trainable, model.frozen))
