"""Per-sample figures and update in every way a batch can be computed, against vmap(grad) of each sample alone."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aft_contracts import ComputeType, LoraSpec, Remat
from aft_worker.forensics.analyze_batch import SampleAnalysis, analyze_batch
from aft_worker.model.dropout import token_keys
from aft_worker.model.load import LoadedModel
from aft_worker.model.mesh import make_mesh
from aft_worker.model.packing import positions_of
from aft_worker.model.probed.probe import Probe, gram_is_cheaper
from aft_worker.train.gradients import BatchGradients, Lines, batch_gradients
from aft_worker.train.weighting import weighting

LENGTHS = (7, 12, 3, 9, 5, 11, 4, 6)
LINES = ((0, 2), (1, 4, 6), (3, 7), (5,))
"""Which samples share a line of 24 tokens."""
LONGEST, CAPACITY = 12, 24
LORA = LoraSpec(rank=4)
DROPPING = LoraSpec(rank=4, dropout=0.3)

# Most of these tests' time goes into LLVM's optimisations of programs that run once.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@dataclass(frozen=True, kw_only=True)
class Case:
    """A way of training."""

    lora: LoraSpec | None = None
    remat: Remat = Remat.SELECTIVE
    parts: int = 1
    config: dict[str, Any] = field(default_factory=dict)


CASES = {
    "full_tied": Case(),
    "full_untied_in_parts": Case(parts=4, config={"tie_word_embeddings": False}),
    "full_tied_in_parts_all_kept": Case(parts=2, remat=Remat.NONE),
    "full_nothing_kept": Case(remat=Remat.FULL, config={"num_hidden_layers": 1}),
    "full_biases": Case(config={"model_type": "qwen2", "num_hidden_layers": 1}),
    "full_head_norms": Case(config={"model_type": "qwen3", "head_dim": 16, "num_hidden_layers": 1}),
    "full_window": Case(config={"model_type": "mistral", "sliding_window": 3, "num_hidden_layers": 1}),
    "full_gram": Case(config={"hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 1}),
    "full_some_windows": Case(
        config={"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}
    ),
    "full_gemma3": Case(config={"model_type": "gemma3_text", "sliding_window": 3, "final_logit_softcapping": 2.0}),
    "full_gpt2": Case(config={"model_type": "gpt2", "n_positions": CAPACITY}),
    "lora_dropout_gpt2": Case(
        lora=LoraSpec(rank=4, dropout=0.3, targets=("c_attn", "c_proj")), config={"model_type": "gpt2"}
    ),
    "lora": Case(lora=LORA),
    "lora_in_parts_nothing_kept": Case(lora=LORA, parts=2, remat=Remat.FULL),
    "lora_on_two_untied": Case(
        lora=LoraSpec(rank=2, targets=("v_proj", "down_proj")), config={"tie_word_embeddings": False}
    ),
    "lora_dropout": Case(lora=DROPPING),
    "lora_dropout_in_parts_all_kept": Case(lora=DROPPING, parts=4, remat=Remat.NONE),
}


def samples(longest: int = LONGEST, seed: int = 0) -> Lines:
    """Each sample on a line of its own: repeated tokens, prompts without loss, unequal weights."""
    draw = np.random.default_rng(seed)
    tokens = np.zeros((len(LENGTHS), longest), np.int32)
    weights = np.zeros((len(LENGTHS), longest), np.float32)
    for row, length in enumerate(LENGTHS):
        tokens[row, :length] = draw.integers(0, 24, length)
        weights[row, 1 + row % 2 : length] = draw.uniform(0.3, 2.0, length - 1 - row % 2)
    keys = np.arange(1, len(LENGTHS) + 1, dtype=np.uint32)[:, None]
    return Lines(tokens=tokens, loss_weights=weights, sample_keys=keys)


def packed_of(alone: Lines) -> tuple[Lines, list[int]]:
    """The same samples on shared lines, and where each one's figures stand."""
    packed = max(len(line) for line in LINES)
    shape = (len(LINES), CAPACITY)
    tokens, weights, segments = np.zeros(shape, np.int32), np.zeros(shape, np.float32), np.zeros(shape, np.int32)
    keys, places = np.zeros((len(LINES), packed), np.uint32), [0] * len(LENGTHS)
    for b, line in enumerate(LINES):
        start = 0
        for p, row in enumerate(line):
            end = start + LENGTHS[row]
            tokens[b, start:end] = alone.tokens[row, : LENGTHS[row]]
            weights[b, start:end] = alone.loss_weights[row, : LENGTHS[row]]
            segments[b, start:] = p
            keys[b, p], places[row] = alone.sample_keys[row, 0], b * packed + p
            start = end
    return Lines(tokens=tokens, loss_weights=weights, segments=segments, sample_keys=keys), places


def probed(model: LoadedModel, lines: Lines, *, parts: int = 1) -> BatchGradients:
    packed = 1 if lines.segments is None else max(len(line) for line in LINES)

    def run(trainable: nnx.State, frozen: nnx.State, lines: Lines) -> BatchGradients:
        return batch_gradients(model.graphdef, trainable, frozen, lines, make_mesh(), packed=packed, parts=parts)

    return quick_jit(run)(model.trainable, model.frozen, jax.tree.map(jnp.asarray, lines))


def oracle(model: LoadedModel, alone: Lines) -> SampleAnalysis:
    """Loss and gradient of each sample alone by plain autodiff; only LoRA leaves the head out of it."""

    def own_loss(trainable: nnx.State, sample: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        tokens, loss_weights, key = (leaf[None] for leaf in sample)
        batch = weighting(tokens, loss_weights)
        decoder = nnx.merge(model.graphdef, trainable, model.frozen)
        if model.lora is None:
            logits = jax.nn.log_softmax(decoder.logits(tokens))
            nll = -jnp.take_along_axis(logits, batch.targets[..., None], axis=2)[..., 0]
        else:
            noise = token_keys(key, positions_of(tokens.shape[1], None), None)
            probe = Probe(None, None, None, noise)
            nll = decoder.scores(tokens, batch.targets, batch.needed, probe=probe).nll
        return (batch.weights * nll).sum() / batch.weights.sum()

    def analyse(trainable: nnx.State) -> SampleAnalysis:
        lines = (alone.tokens, alone.loss_weights, alone.sample_keys)
        return analyze_batch(own_loss, trainable, jax.tree.map(jnp.asarray, lines), keep_gradients=True)

    return quick_jit(analyse)(model.trainable)


def relative_error(given: Any, expected: Any) -> float:
    given, expected = np.asarray(given), np.asarray(expected)
    return float(np.max(np.abs(given - expected)) / np.max(np.abs(expected)))


def assert_agrees(ours: BatchGradients, places: Any, expected: SampleAnalysis, alone: Lines) -> None:
    np.testing.assert_allclose(ours.sample_loss[places], expected.losses, rtol=1e-5)
    np.testing.assert_allclose(ours.sample_grad_norm[places], expected.grad_norms, rtol=1e-5)
    totals = alone.loss_weights[:, 1:].sum(1)
    shares = totals / totals.sum()
    np.testing.assert_allclose(ours.loss, shares @ np.asarray(expected.losses), rtol=1e-5)
    for given, own in zip(jax.tree.leaves(ours.gradient), jax.tree.leaves(expected.gradients), strict=True):
        assert relative_error(given, np.tensordot(shares, np.asarray(own), 1)) < 1e-5


@pytest.mark.parametrize("case", CASES)
def test_samples_have_their_own_figures_packed_or_not(load_tiny, case: str) -> None:
    way = CASES[case]
    model, alone = load_tiny(lora=way.lora, remat=way.remat, **way.config), samples()
    expected = oracle(model, alone)
    single = probed(model, alone, parts=way.parts)
    assert_agrees(single, np.arange(len(LENGTHS)), expected, alone)

    lines, places = packed_of(alone)
    together = probed(model, lines, parts=way.parts)
    assert_agrees(together, np.array(places), expected, alone)
    np.testing.assert_array_equal(together.sample_tokens[np.array(places)], single.sample_tokens)
    np.testing.assert_array_equal(together.sample_accuracy[np.array(places)], single.sample_accuracy)


def test_both_forms_of_a_packed_dense_norm_are_covered() -> None:
    assert gram_is_cheaper(CAPACITY, 96, 160, packed=3)
    assert not gram_is_cheaper(CAPACITY, 32, 16, packed=3)


def test_neighbours_on_a_line_do_not_reach_a_sample(load_tiny) -> None:
    model, alone = load_tiny(lora=LORA), samples()
    lines, places = packed_of(alone)
    strangers = np.array(lines.tokens)
    strangers[1, : LENGTHS[1]] = 99  # sample 1 stands first on its line, before 4 and 6
    before, after = probed(model, lines), probed(model, Lines(**{**vars(lines), "tokens": strangers}))
    others = [places[row] for row in range(len(LENGTHS)) if row != 1]
    for figure in ("sample_loss", "sample_grad_norm", "sample_accuracy"):
        np.testing.assert_array_equal(
            getattr(after, figure)[np.array(others)], getattr(before, figure)[np.array(others)]
        )
    assert after.sample_loss[places[1]] != before.sample_loss[places[1]]


def masked(alone: Lines, row: int, *, tokens: bool) -> Lines:
    """The samples, one of them without weight, and on demand without tokens as well."""
    emptied = Lines(**{**vars(alone), "tokens": alone.tokens.copy(), "loss_weights": alone.loss_weights.copy()})
    emptied.loss_weights[row] = 0.0
    if tokens:
        emptied.tokens[row] = 0
    return emptied


@pytest.mark.parametrize("case", CASES)
def test_tokens_of_a_masked_sample_change_no_bit(load_tiny, case: str) -> None:
    way = CASES[case]
    model = load_tiny(lora=way.lora, remat=way.remat, **way.config)
    left, emptied = (masked(samples(), 1, tokens=tokens) for tokens in (False, True))
    for pair in [(left, emptied), (packed_of(left)[0], packed_of(emptied)[0])]:
        assert_same_bits(*(probed(model, lines, parts=way.parts) for lines in pair))


def assert_same_bits(first: BatchGradients, second: BatchGradients) -> None:
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.mark.parametrize("lora", [None, LORA])
def test_overflowing_sample_spoils_its_own_figures_and_the_update_alone(load_tiny, lora) -> None:
    model, alone = load_tiny(lora=lora), samples()
    clean = probed(model, packed_of(alone)[0])
    alone.loss_weights[4, 1:] = 3e38
    lines, places = packed_of(alone)
    spoilt = probed(model, lines)
    others = np.array([places[row] for row in range(len(LENGTHS)) if row != 4])
    assert not np.isfinite(spoilt.sample_grad_norm[places[4]])
    assert not np.isfinite(spoilt.loss)
    assert not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(spoilt.gradient))
    for figure in ("sample_loss", "sample_grad_norm"):
        np.testing.assert_allclose(getattr(spoilt, figure)[others], getattr(clean, figure)[others], rtol=1e-6)


@pytest.mark.parametrize("lora", [None, LORA])
def test_accuracy_is_the_share_of_first_choices(load_tiny, lora) -> None:
    model, alone = load_tiny(lora=lora), samples()
    decode = jax.jit(lambda trainable, tokens: nnx.merge(model.graphdef, trainable, model.frozen).logits(tokens))
    first_choice = np.asarray(decode(model.trainable, alone.tokens).argmax(-1))
    # The last token depends on no other target, so it can be made the model's own choice, or not.
    for row, length in enumerate(LENGTHS):
        alone.loss_weights[row] = 0.0
        alone.loss_weights[row, length - 1] = 2.0
        alone.tokens[row, length - 1] = first_choice[row, length - 2] + row % 2
    assert probed(model, alone).sample_accuracy.tolist() == [1.0, 0.0] * 4


def test_dropout_changes_with_the_sample_key_alone(load_tiny) -> None:
    model, alone = load_tiny(lora=DROPPING), samples()
    first, again = probed(model, alone), probed(model, alone)
    np.testing.assert_array_equal(first.sample_loss, again.sample_loss)
    other_keys = alone.sample_keys + np.array([[100], *[[0]] * 7], np.uint32)
    other = probed(model, Lines(**{**vars(alone), "sample_keys": other_keys}))
    assert other.sample_loss[0] != first.sample_loss[0]
    np.testing.assert_array_equal(other.sample_loss[1:], first.sample_loss[1:])


def test_bfloat16_keeps_masters_in_float32_and_figures_near(load_tiny) -> None:
    for lora in (None, LORA):
        exact = load_tiny(lora=lora)
        coarse = load_tiny(lora=lora, compute=ComputeType.BFLOAT16)
        assert {leaf.dtype.name for leaf in jax.tree.leaves(coarse.trainable)} == {"float32"}
        assert {leaf.dtype.name for leaf in jax.tree.leaves(coarse.frozen)} == ({"bfloat16"} if lora else set())
        lines, _ = packed_of(samples())
        expected, ours = probed(exact, lines), probed(coarse, lines)
        assert {leaf.dtype.name for leaf in jax.tree.leaves(ours)} == {"float32", "int32"}
        np.testing.assert_allclose(ours.loss, expected.loss, rtol=2e-2)
        np.testing.assert_allclose(ours.sample_loss, expected.sample_loss, rtol=3e-2)
        np.testing.assert_allclose(ours.sample_grad_norm, expected.sample_grad_norm, rtol=6e-2)
        assert not np.array_equal(ours.sample_loss, expected.sample_loss)
