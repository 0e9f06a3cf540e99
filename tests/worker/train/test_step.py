"""The compiled step: its numbers, its refusals and its single compilation."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from aft_contracts import DetectionSpec, LoraSpec, OptimSpec, Withheld
from aft_worker.model.mesh import make_mesh
from aft_worker.train.digest import state_digest
from aft_worker.train.errors import BatchDoesNotDivide, refuse_uneven
from aft_worker.train.state import TrainState, init_state
from aft_worker.train.step import MOST_SAMPLED, TrainStep, sampled, withheld_of

OPTIM = OptimSpec(weight_decay=0.1)
DETECTION = DetectionSpec(min_steps=4, history_steps=8)
LORA = LoraSpec(rank=4)


def start(model) -> tuple[TrainStep, TrainState]:
    return TrainStep(model, OPTIM, DETECTION, make_mesh()), init_state(model, OPTIM, DETECTION)


def kept(state: TrainState) -> TrainState:
    """A copy that outlives the state: steps consume what they are given."""
    return jax.tree.map(np.array, state)


def assert_identical(given, expected) -> None:
    jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(given), jax.tree.leaves(expected))


@pytest.mark.parametrize("lora", [None, LORA])
def test_step_is_a_clipped_adamw_step_on_the_plain_gradient(load_tiny, make_inputs, lora) -> None:
    model, inputs = load_tiny(lora=lora), make_inputs(clip_norm=jnp.float32(0.05))

    def plain_loss(trainable: nnx.State) -> jax.Array:
        logits = nnx.merge(model.graphdef, trainable, model.frozen).logits(inputs.lines.tokens)
        nll = optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], inputs.lines.tokens[:, 1:])
        return (inputs.lines.loss_weights[:, 1:] * nll).sum() / inputs.lines.loss_weights[:, 1:].sum()

    def plain_step(trainable: nnx.State) -> tuple[jax.Array, nnx.State, nnx.State]:
        loss, gradient = jax.value_and_grad(plain_loss)(trainable)
        is_matrix = jax.tree_util.tree_map_with_path(
            lambda path, _: not any(getattr(key, "key", "") in ("scale", "bias") for key in path), gradient
        )
        peer = optax.chain(
            optax.clip_by_global_norm(0.05), optax.adamw(1e-3, eps=OPTIM.epsilon, weight_decay=0.1, mask=is_matrix)
        )
        updates, _ = peer.update(gradient, peer.init(trainable), trainable)
        return loss, gradient, optax.apply_updates(trainable, updates)

    quick = {"xla_backend_optimization_level": 0}
    loss, gradient, expected = jax.jit(plain_step, compiler_options=quick)(model.trainable)
    step, state = start(model)
    before = kept(state)
    after, outputs = step(state, inputs)
    assert bool(outputs.applied)
    np.testing.assert_allclose(outputs.loss, loss, rtol=1e-6)
    way = jax.tree.map(lambda now, then: now - then, after.trainable, before.trainable)
    asked = np.concatenate([leaf.ravel() for leaf in sampled(way)])
    np.testing.assert_allclose(outputs.update_rms, np.sqrt(np.mean(asked**2)), rtol=1e-4)
    assert 0 < asked.size <= sum(leaf.size for leaf in jax.tree.leaves(way))
    np.testing.assert_allclose(outputs.grad_norm, optax.tree.norm(gradient), rtol=1e-5)
    for given, wanted in zip(jax.tree.leaves(after.trainable), jax.tree.leaves(expected), strict=True):
        # Adam's first step is lr * g / |g|: where g is near zero, rounding decides its sign.
        np.testing.assert_allclose(given, wanted, atol=2e-5)


@pytest.mark.parametrize(
    ("sizes", "asked"),
    [
        ((5, 3, 40), [3, 5, 40]),
        ((5, MOST_SAMPLED, 3), [3, 5]),
        ((MOST_SAMPLED - 3, 3), [3, MOST_SAMPLED - 3]),
        ((2 * MOST_SAMPLED, 3 * MOST_SAMPLED), [2 * MOST_SAMPLED]),
    ],
)
def test_the_smallest_leaves_are_asked_how_far_they_moved(sizes: tuple[int, ...], asked: list[int]) -> None:
    tree = {f"leaf{number}": np.zeros(size) for number, size in enumerate(sizes)}
    assert [leaf.size for leaf in sampled(tree)] == asked


def test_changing_rate_clip_skip_and_weights_compiles_nothing_again(load_tiny, make_inputs) -> None:
    step, state = start(load_tiny(lora=LORA))
    for index in range(6):
        inputs = make_inputs(
            seed=index,
            learning_rate=np.float32(1e-3 * index),
            clip_norm=0.5 + index,
            skip=index == 3,
            rearm=index == 4,
        )
        state, _ = step(state, inputs)
    restored = kept(state)
    step(restored, make_inputs())
    assert step.compilations == 1
    assert int(state.step) == 6


@pytest.mark.parametrize(
    ("replaced", "reason"),
    [
        ({"skip": True}, Withheld.SKIPPED),
        ({"loss_weights": np.zeros((4, 12), np.float32)}, Withheld.SKIPPED),
        ({"loss_weights": np.array([[3e38] * 12, *[[1.0] * 12] * 3], np.float32)}, Withheld.NON_FINITE),
        ({"loss_weights": np.full((4, 12), np.nan, np.float32)}, Withheld.NON_FINITE),
    ],
)
@pytest.mark.parametrize("lora", [None, LORA])
def test_withheld_step_leaves_every_bit(load_tiny, make_inputs, replaced, reason, lora) -> None:
    step, state = start(load_tiny(lora=lora))
    state, _ = step(state, make_inputs())
    before, digest = kept(state), state_digest(state)
    after, outputs = step(state, make_inputs(**replaced))
    assert withheld_of(outputs.withheld) == reason
    assert not bool(outputs.applied)
    assert float(outputs.update_rms) == 0.0
    assert_identical(replace(after, step=before.step), before)
    assert state_digest(after) == digest
    assert int(after.step) == 2


def test_rearmed_step_judges_by_nothing_that_was_before(load_tiny, make_inputs) -> None:
    step, state = start(load_tiny(lora=LORA))
    for index in range(6):
        state, _ = step(state, make_inputs(seed=index))
    assert int(state.guard.count) == 6
    state, outputs = step(state, make_inputs(seed=6, rearm=True))
    assert (int(state.guard.count), float(state.guard.losses[0])) == (1, float(outputs.loss))
    state, _ = step(state, make_inputs(seed=7, rearm=True, skip=True))
    assert int(state.guard.count) == 0, "a skipped step teaches the guard nothing, but forgets what it is to forget"
    assert step.compilations == 1


def test_spike_is_withheld_and_training_goes_on(load_tiny, make_inputs) -> None:
    step, state = start(load_tiny(lora=LORA))
    for index in range(60):
        state, outputs = step(state, make_inputs(learning_rate=3e-2 if index < 50 else 0.0, clip_norm=10.0))
        assert bool(outputs.applied)
    before = kept(state)
    strangers = np.random.default_rng(9).integers(200, 264, (4, 12))
    state, spike = step(state, make_inputs(tokens=strangers))
    assert withheld_of(spike.withheld) == Withheld.LOSS
    assert float(spike.loss) > float(outputs.loss) + 1.0
    assert_identical((state.trainable, state.opt_state), (before.trainable, before.opt_state))
    _, outputs = step(state, make_inputs())
    assert bool(outputs.applied)


def test_same_inputs_give_the_same_bits(load_tiny, make_inputs) -> None:
    digests = []
    for _ in range(2):
        step, state = start(load_tiny(lora=LORA))
        for index in range(3):
            state, _ = step(state, make_inputs(seed=index))
        digests.append(state_digest(state))
    assert digests[0] == digests[1]


def test_saved_restored_and_continued_equals_never_stopped(load_tiny, make_inputs) -> None:
    step, state = start(load_tiny(lora=LORA))
    state, _ = step(state, make_inputs(seed=0))
    saved = kept(state)
    state, _ = step(state, make_inputs(seed=1))
    after_restart, _ = start(load_tiny(lora=LORA))
    resumed, _ = after_restart(saved, make_inputs(seed=1))
    assert_identical(resumed, state)
    assert state_digest(resumed) == state_digest(state)


def test_digest_sees_a_single_bit(load_tiny) -> None:
    _, state = start(load_tiny(lora=LORA))
    leaves, structure = jax.tree.flatten(state.opt_state)
    changed = [leaf.at[(0,) * leaf.ndim].add(1) if index == 0 else leaf for index, leaf in enumerate(leaves)]
    assert state_digest(state) != state_digest(replace(state, opt_state=jax.tree.unflatten(structure, changed)))


def test_init_state_shares_no_memory_with_the_model(load_tiny, make_inputs) -> None:
    model = load_tiny(lora=LORA)
    before = jax.tree.map(np.array, model.trainable)
    step, state = start(model)
    step(state, make_inputs())
    assert_identical(model.trainable, before)


def test_golden_numbers_of_one_step(load_tiny, make_inputs) -> None:
    step, state = start(load_tiny(lora=LORA, fresh=True))
    _, outputs = step(state, make_inputs())
    golden = {
        "loss": 5.692431926727295,
        "grad_norm": 2.392176628112793,
        "sample_loss": [5.723701000213623, 5.757669448852539, 5.230434417724609, 5.8253984451293945],
        "sample_grad_norm": [4.793312072753906, 3.624065637588501, 7.118760585784912, 4.4871063232421875],
    }
    for name, value in golden.items():
        np.testing.assert_allclose(getattr(outputs, name), value, rtol=1e-5)
    assert outputs.sample_tokens.tolist() == [11, 7, 7, 11]


@pytest.mark.parametrize(("lines", "devices", "parts"), [(6, 4, 1), (6, 1, 4), (8, 4, 4)])
def test_batch_that_cannot_be_split_evenly_is_refused(lines: int, devices: int, parts: int) -> None:
    with pytest.raises(BatchDoesNotDivide, match=f"make optim.batch_size a multiple of {devices * parts}"):
        refuse_uneven(lines, devices=devices, parts=parts)


def test_batch_that_can_be_split_evenly_is_taken() -> None:
    assert refuse_uneven(16, devices=4, parts=4) is None
