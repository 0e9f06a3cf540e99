"""Figures of layers that compute in bfloat16, their trained weights in float32."""

from dataclasses import replace
from itertools import cycle, product
from typing import Any

import jax
import numpy as np
import optax
import pytest

from aft_contracts import ComputeType, Remat
from tests.worker.train.oracle import assert_agrees, probed, vmap_grad
from tests.worker.train.samples import ROWS, packed_of, samples
from tests.worker.train.ways import ADAPTERS, HEADS, Way

WAYS = {
    f"{adapter}_{head}_remat_{remat}": Way(
        compute=ComputeType.BFLOAT16,
        lora=ADAPTERS[adapter],
        remat=remat,
        parts=2,
        config={"tie_word_embeddings": HEADS[head]},
    )
    for (adapter, head), remat in zip(product(ADAPTERS, HEADS), cycle(Remat), strict=False)
}


@pytest.mark.parametrize("name", WAYS)
def test_figures_are_those_of_vmap_grad_in_bfloat16(load_tiny, name: str) -> None:
    way = WAYS[name]
    model, alone = load_tiny(**way.model), samples()
    lines, places = packed_of(alone)
    ours = probed(model, lines, parts=way.parts)
    assert_agrees(ours, places, vmap_grad(model, alone), alone, way.compute)


@pytest.mark.parametrize("name", WAYS)
def test_norm_is_that_of_the_update_that_a_sample_makes_alone(load_tiny, name: str) -> None:
    way = WAYS[name]
    model, alone = load_tiny(**way.model), samples()
    lines, places = packed_of(alone)
    norms = probed(model, lines, parts=way.parts).sample_grad_norm[places]
    for row in ROWS:
        own = replace(alone, loss_weights=np.where(ROWS[:, None] == row, alone.loss_weights, 0.0))
        update = probed(model, packed_of(own)[0], parts=way.parts).gradient
        np.testing.assert_allclose(norms[row], optax.tree.norm(update), rtol=1e-5)


@pytest.mark.parametrize("name", WAYS)
def test_trained_weights_and_figures_are_float32(load_tiny, name: str) -> None:
    way = WAYS[name]
    model, exact = load_tiny(**way.model), load_tiny(**replace(way, compute=ComputeType.FLOAT32).model)
    assert types_of(model.trainable) == {"float32"}
    assert types_of(model.frozen) == (set() if way.lora is None else {"bfloat16"})
    ours, expected = (probed(one, packed_of(samples())[0], parts=way.parts) for one in (model, exact))
    assert types_of(ours) == {"float32", "int32"}
    np.testing.assert_allclose(ours.sample_loss, expected.sample_loss, rtol=3e-2)
    assert not np.array_equal(ours.sample_loss, expected.sample_loss)


def types_of(tree: Any) -> set[str]:
    return {leaf.dtype.name for leaf in jax.tree.leaves(tree)}
