"""A snapshot keeps its values whatever becomes of the state it was taken from."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from aft_contracts import DetectionSpec, LoraSpec, OptimSpec
from aft_worker.checkpoint.snapshot import snapshot
from aft_worker.model.load import load_model
from aft_worker.model.mesh import make_mesh
from aft_worker.train.state import init_state


def test_a_snapshot_outlives_the_donation_of_its_state(tiny_model_dir: Path) -> None:
    model = load_model(tiny_model_dir, lora=LoraSpec(rank=2), seed=0, mesh=make_mesh())
    state = init_state(model, OptimSpec(), DetectionSpec())
    before = jax.tree.map(lambda leaf: np.array(leaf), state)
    copy = snapshot(state)
    addresses = [{leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree)} for tree in (state, copy)]
    assert addresses[0].isdisjoint(addresses[1])
    overwrite = jax.jit(lambda given: jax.tree.map(lambda leaf: leaf + jnp.ones_like(leaf), given), donate_argnums=0)
    after = jax.block_until_ready(overwrite(state))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    jax.tree.map(np.testing.assert_array_equal, copy, before)
    assert jax.tree.leaves(copy.trainable)[0].sharding == jax.tree.leaves(after.trainable)[0].sharding
