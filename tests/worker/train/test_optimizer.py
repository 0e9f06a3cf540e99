"""AdamW as Optax has it, except for steps that are withheld: those leave every bit of the moments."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from aft_contracts import OptimSpec
from aft_worker.train.optimizer import make_optimizer

OPTIM = OptimSpec(weight_decay=0.1)
PARAMETERS = {"kernel": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), "bias": np.ones(4, np.float32)}


def gradient_of(step: int) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(step)
    return {name: noise.normal(size=leaf.shape).astype(np.float32) for name, leaf in PARAMETERS.items()}


def test_directions_are_those_of_optax_adamw() -> None:
    ours = make_optimizer(OPTIM)
    peer = optax.chain(
        optax.scale_by_adam(OPTIM.beta1, OPTIM.beta2, OPTIM.epsilon),
        optax.add_decayed_weights(0.1, mask={"kernel": True, "bias": False}),
    )
    state, expected_state = ours.init(PARAMETERS), peer.init(PARAMETERS)
    assert jax.tree.structure(state) == jax.tree.structure(expected_state)
    for step in range(5):
        given, state = ours.update(gradient_of(step), state, PARAMETERS, applied=jnp.bool_(True))
        expected, expected_state = peer.update(gradient_of(step), expected_state, PARAMETERS)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), given, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), state, expected_state)


def test_a_withheld_step_leaves_every_bit_of_the_moments() -> None:
    optimizer = make_optimizer(OPTIM)
    _, state = optimizer.update(gradient_of(0), optimizer.init(PARAMETERS), PARAMETERS, applied=jnp.bool_(True))
    # What arithmetic would not bring back: a negative zero, and a number too small for a normal exponent.
    adam = state[0]
    adam.mu["bias"] = np.array([-0.0, 1e-42, -1e-42, 1.0], np.float32)
    poisoned = {name: np.full_like(leaf, np.nan) for name, leaf in PARAMETERS.items()}
    before = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]
    update = jax.jit(optimizer.update)
    _, after = update(poisoned, state, PARAMETERS, applied=jnp.bool_(False))
    assert [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(after)] == before
    _, moved = update(gradient_of(1), state, PARAMETERS, applied=jnp.bool_(True))
    assert [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(moved)] != before
