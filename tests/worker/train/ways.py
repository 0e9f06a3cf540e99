"""Ways of training a tiny model."""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from aft_contracts import ComputeType, LoraSpec, Remat
from aft_worker.model.load import LoadedModel

LORA = LoraSpec(rank=4)
DROPPING = LoraSpec(rank=4, dropout=0.3, targets=("v_proj", "down_proj"))
ADAPTERS = {"full": None, "lora": LORA, "lora_dropout": DROPPING}
HEADS = {"tied": True, "untied": False}


@dataclass(frozen=True, kw_only=True)
class Way:
    """One of them."""

    lora: LoraSpec | None = None
    compute: ComputeType = ComputeType.FLOAT32
    remat: Remat = Remat.SELECTIVE
    parts: int = 1
    """Into how many the batch's lines are split, one computed after the other."""
    config: dict[str, Any] = field(default_factory=dict)
    """Of a Llama of one layer, unless it says otherwise."""

    @property
    def model(self) -> dict[str, Any]:
        """What `load_tiny` is asked for."""
        of_run = {"lora": self.lora, "compute": self.compute, "remat": self.remat}
        return of_run | {"num_hidden_layers": 1} | self.config


def with_moved_adapters(model: LoadedModel) -> LoadedModel:
    """The model with a B that is not zero in its adapters, so that A has a gradient."""
    draw = np.random.default_rng(0)

    def moved(leaf: jax.Array) -> jax.Array:
        value = np.asarray(leaf) + np.asarray(0.05 * draw.normal(size=leaf.shape), np.float32)
        return jax.device_put(value, leaf.sharding)

    return replace(model, trainable=jax.tree.map(moved, model.trainable))
