"""Update and per-sample figures of the one backward pass against plain JAX."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from aft_contracts import LoraSpec
from aft_worker.forensics.analyze_batch import SampleAnalysis, analyze_batch
from aft_worker.model.load import LoadedModel
from aft_worker.model.mesh import make_mesh
from aft_worker.model.probed.probe import gram_is_cheaper
from aft_worker.train.gradients import BatchGradients, Lines, batch_gradients
from aft_worker.train.step import StepInputs
from tests.worker.train.oracle import relative_error

LORA = LoraSpec(rank=4)
CASES: dict[str, tuple[LoraSpec | None, dict[str, Any]]] = {
    "tied": (None, {}),
    "untied": (None, {"tie_word_embeddings": False}),
    "biases": (None, {"model_type": "qwen2", "num_hidden_layers": 1}),
    "head_norms": (None, {"model_type": "qwen3", "head_dim": 16, "num_hidden_layers": 1}),
    "gemma2": (None, {"model_type": "gemma2", "final_logit_softcapping": 2.0, "attn_logit_softcapping": 0.5}),
    "gemma3": (None, {"model_type": "gemma3_text", "tie_word_embeddings": False, "final_logit_softcapping": 2.0}),
    "gemma2_lora": (LORA, {"model_type": "gemma2", "final_logit_softcapping": 2.0}),
    "gpt2": (None, {"model_type": "gpt2"}),
    "gram": (None, {"hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 1}),
    "lora": (LORA, {}),
    "lora_on_two": (LoraSpec(rank=2, targets=("v_proj", "down_proj")), {"tie_word_embeddings": False}),
}


# Most of these tests' time goes into LLVM's optimisations of programs that run once.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def probed(model: LoadedModel, inputs: StepInputs) -> BatchGradients:
    def run(trainable: nnx.State, frozen: nnx.State, lines: Lines) -> BatchGradients:
        return batch_gradients(model.graphdef, trainable, frozen, lines, make_mesh())

    return quick_jit(run)(model.trainable, model.frozen, jax.tree.map(jnp.asarray, inputs.lines))


def vmap_grad(model: LoadedModel, trainable: nnx.State, tokens: jax.Array, weights: jax.Array) -> SampleAnalysis:
    def own_loss(trainable: nnx.State, sample: tuple[jax.Array, jax.Array]) -> jax.Array:
        return plain_loss(model, trainable, sample[0][None], sample[1][None])

    return analyze_batch(own_loss, trainable, (tokens, weights), keep_gradients=True)


def plain_loss(model: LoadedModel, trainable: nnx.State, tokens: jax.Array, weights: jax.Array) -> jax.Array:
    logits = nnx.merge(model.graphdef, trainable, model.frozen).logits(tokens)
    nll = optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], tokens[:, 1:])
    return (weights[:, 1:] * nll).sum() / weights[:, 1:].sum()


@pytest.mark.parametrize("case", CASES)
def test_figures_are_those_of_vmap_grad(load_tiny, make_inputs, case: str) -> None:
    lora, config = CASES[case]
    model, inputs = load_tiny(lora=lora, **config), make_inputs()
    oracle = quick_jit(partial(vmap_grad, model))(model.trainable, inputs.lines.tokens, inputs.lines.loss_weights)
    ours = probed(model, inputs)
    np.testing.assert_allclose(ours.sample_loss, oracle.losses, rtol=1e-6)
    np.testing.assert_allclose(ours.sample_grad_norm, oracle.grad_norms, rtol=2e-6)

    totals = np.asarray(inputs.lines.loss_weights)[:, 1:].sum(1)
    shares = totals / totals.sum()
    np.testing.assert_allclose(ours.loss, shares @ np.asarray(oracle.losses), rtol=1e-6)
    for given, own in zip(jax.tree.leaves(ours.gradient), jax.tree.leaves(oracle.gradients), strict=True):
        assert relative_error(given, np.tensordot(shares, np.asarray(own), 1)) < 5e-6


def test_both_forms_of_a_dense_norm_are_covered() -> None:
    tokens = 12
    assert gram_is_cheaper(tokens, 96, 160)
    assert gram_is_cheaper(tokens, 96, 264)
    assert not gram_is_cheaper(tokens, 32, 64)
    assert not gram_is_cheaper(tokens, 32, 32)


@pytest.mark.parametrize("lora", [None, LORA])
def test_overflowing_row_spoils_only_its_own_figures(load_tiny, make_inputs, lora) -> None:
    model, inputs = load_tiny(lora=lora), make_inputs()
    clean = probed(model, inputs)
    huge = make_inputs(loss_weights=inputs.lines.loss_weights.at[0].set(3e38))
    spoilt = probed(model, huge)
    assert not np.isfinite(spoilt.sample_loss[0])
    assert not np.isfinite(spoilt.loss)
    assert not np.isfinite(optax.tree.norm(spoilt.gradient))
    np.testing.assert_allclose(spoilt.sample_loss[1:], clean.sample_loss[1:], rtol=1e-6)
    np.testing.assert_allclose(spoilt.sample_grad_norm[1:], clean.sample_grad_norm[1:], rtol=1e-6)


def test_sample_without_weight_counts_for_nothing(load_tiny, make_inputs) -> None:
    model, inputs = load_tiny(), make_inputs()
    weights = inputs.lines.loss_weights.at[3].set(0.0)
    masked = probed(model, make_inputs(loss_weights=weights))
    stranger = probed(model, make_inputs(loss_weights=weights, tokens=inputs.lines.tokens.at[3].set(200)))
    assert (masked.sample_loss[3], masked.sample_grad_norm[3], masked.sample_tokens[3]) == (0.0, 0.0, 0)
    totals = np.asarray(weights)[:, 1:].sum(1)
    np.testing.assert_allclose(masked.loss, totals @ np.asarray(masked.sample_loss) / totals.sum(), rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, stranger, masked)


def test_padding_and_first_column_change_nothing(load_tiny, make_inputs) -> None:
    model, inputs = load_tiny(lora=LORA), make_inputs()
    padded = inputs.lines.loss_weights.at[:, 7:].set(0.0)
    before = probed(model, make_inputs(loss_weights=padded))
    other = make_inputs(tokens=inputs.lines.tokens.at[:, 7:].set(7), loss_weights=padded.at[:, 0].set(9.0))
    jax.tree.map(np.testing.assert_array_equal, probed(model, other), before)
