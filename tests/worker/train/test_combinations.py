"""Per-sample figures and update in every way a batch can be computed, against vmap(grad) of each sample alone."""

from dataclasses import dataclass, field, replace
from itertools import cycle, product
from typing import Any

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from aft_contracts import ComputeType, LoraSpec, Remat
from aft_worker.model.probed.probe import gram_is_cheaper
from aft_worker.train.gradients import BatchGradients, Lines
from tests.worker.train.oracle import assert_agrees, probed, vmap_grad
from tests.worker.train.samples import CAPACITY, LENGTHS, PACKED, packed_of, samples

ROWS = np.arange(len(LENGTHS))
LORA = LoraSpec(rank=4)
DROPPING = LoraSpec(rank=4, dropout=0.3, targets=("v_proj", "down_proj"))
ADAPTERS = {"full": None, "lora": LORA, "lora_dropout": DROPPING}
HEADS = {"tied": True, "untied": False}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A way of training."""

    lora: LoraSpec | None = None
    remat: Remat = Remat.SELECTIVE
    parts: int = 1
    config: dict[str, Any] = field(default_factory=dict)
    """Of a model of one layer, unless it says otherwise."""

    @property
    def model(self) -> dict[str, Any]:
        """What `load_tiny` is asked for."""
        return {"lora": self.lora, "remat": self.remat, "num_hidden_layers": 1, **self.config}


PRODUCT = {
    f"{adapter}_{head}_parts_{parts}_remat_{remat}": Case(
        lora=ADAPTERS[adapter], remat=remat, parts=parts, config={"tie_word_embeddings": HEADS[head]}
    )
    for adapter, head, parts, remat in product(ADAPTERS, HEADS, (1, 2), Remat)
}
_NOTHING_KEPT: dict[str, Any] = {"parts": 2, "remat": Remat.FULL}
_GEMMA3 = {"model_type": "gemma3_text", "num_hidden_layers": 2, "sliding_window": 3, "final_logit_softcapping": 2.0}
_GPT2 = {"model_type": "gpt2", "n_positions": CAPACITY}
FAMILIES = {
    "full_biases": Case(config={"model_type": "qwen2"}),
    "full_biases_nothing_kept": Case(**_NOTHING_KEPT, config={"model_type": "qwen2"}),
    "lora_biases_nothing_kept": Case(**_NOTHING_KEPT, lora=LORA, config={"model_type": "qwen2"}),
    "full_head_norms": Case(parts=4, remat=Remat.NONE, config={"model_type": "qwen3", "head_dim": 16}),
    "full_window": Case(config={"model_type": "mistral", "sliding_window": 3}),
    "full_gram": Case(**_NOTHING_KEPT, config={"hidden_size": 96, "intermediate_size": 160}),
    "full_some_windows": Case(
        parts=2,
        remat=Remat.NONE,
        config={
            "model_type": "qwen2",
            "num_hidden_layers": 2,
            "use_sliding_window": True,
            "sliding_window": 3,
            "max_window_layers": 1,
        },
    ),
    "full_gemma3": Case(config=_GEMMA3),
    "full_gemma3_nothing_kept": Case(**_NOTHING_KEPT, config=_GEMMA3),
    "full_gpt2": Case(config=_GPT2),
    "full_gpt2_nothing_kept": Case(**_NOTHING_KEPT, config=_GPT2),
    "lora_dropout_gpt2": Case(
        lora=LoraSpec(rank=4, dropout=0.3, targets=("c_attn", "c_proj")), config={"model_type": "gpt2"}
    ),
    "lora_dropout_everywhere": Case(
        parts=4, remat=Remat.FULL, lora=LoraSpec(rank=4, dropout=0.3), config={"num_hidden_layers": 2}
    ),
}
CASES = PRODUCT | FAMILIES


@pytest.mark.parametrize("case", CASES)
def test_samples_have_their_own_figures_packed_or_not(load_tiny, case: str) -> None:
    way = CASES[case]
    model, alone = load_tiny(**way.model), samples()
    expected = vmap_grad(model, alone)
    single = probed(model, alone, parts=way.parts)
    assert_agrees(single, ROWS, expected, alone)

    lines, places = packed_of(alone)
    together = probed(model, lines, parts=way.parts)
    assert_agrees(together, places, expected, alone)
    for figure in ("sample_loss", "sample_grad_norm"):
        np.testing.assert_allclose(getattr(together, figure)[places], getattr(single, figure), rtol=1e-5)
    for figure in ("sample_tokens", "sample_accuracy"):
        np.testing.assert_array_equal(getattr(together, figure)[places], getattr(single, figure))


def test_both_forms_of_a_packed_dense_norm_are_covered() -> None:
    assert gram_is_cheaper(CAPACITY, 96, 160, packed=PACKED)
    assert not gram_is_cheaper(CAPACITY, 32, 16, packed=PACKED)


def test_neighbours_on_a_line_do_not_reach_a_sample(load_tiny) -> None:
    model, alone = load_tiny(**Case(lora=LORA).model), samples()
    lines, places = packed_of(alone)
    strangers = np.array(lines.tokens)
    strangers[1, : LENGTHS[1]] = 99  # sample 1 stands first on its line, before 4 and 6
    before, after = probed(model, lines), probed(model, replace(lines, tokens=strangers))
    others = places[ROWS != 1]
    for figure in ("sample_loss", "sample_grad_norm", "sample_accuracy"):
        np.testing.assert_array_equal(getattr(after, figure)[others], getattr(before, figure)[others])
    assert after.sample_loss[places[1]] != before.sample_loss[places[1]]


def masked(alone: Lines, row: int, *, tokens: bool) -> Lines:
    """The samples, one of them without weight, and on demand without tokens as well."""
    emptied = replace(alone, tokens=alone.tokens.copy(), loss_weights=alone.loss_weights.copy())
    emptied.loss_weights[row] = 0.0
    if tokens:
        emptied.tokens[row] = 0
    return emptied


@pytest.mark.parametrize("case", CASES)
def test_tokens_of_a_masked_sample_change_no_bit(load_tiny, case: str) -> None:
    way = CASES[case]
    model = load_tiny(**way.model)
    left, emptied = (masked(samples(), 1, tokens=tokens) for tokens in (False, True))
    for pair in [(left, emptied), (packed_of(left)[0], packed_of(emptied)[0])]:
        assert_same_bits(*(probed(model, lines, parts=way.parts) for lines in pair))


def assert_same_bits(first: BatchGradients, second: BatchGradients) -> None:
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.mark.parametrize("lora", [None, LORA])
def test_overflowing_sample_spoils_its_own_figures_and_the_update_alone(load_tiny, lora) -> None:
    model, alone = load_tiny(**Case(lora=lora).model), samples()
    clean = probed(model, packed_of(alone)[0])
    alone.loss_weights[4, 1:] = 3e38
    lines, places = packed_of(alone)
    spoilt = probed(model, lines)
    others = places[ROWS != 4]
    assert not np.isfinite(spoilt.sample_grad_norm[places[4]])
    assert not np.isfinite(spoilt.loss)
    assert not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(spoilt.gradient))
    for figure in ("sample_loss", "sample_grad_norm"):
        np.testing.assert_allclose(getattr(spoilt, figure)[others], getattr(clean, figure)[others], rtol=1e-6)


@pytest.mark.parametrize("lora", [None, LORA])
def test_accuracy_is_the_share_of_first_choices(load_tiny, lora) -> None:
    model, alone = load_tiny(**Case(lora=lora).model), samples()
    decode = jax.jit(lambda trainable, tokens: nnx.merge(model.graphdef, trainable, model.frozen).logits(tokens))
    first_choice = np.asarray(decode(model.trainable, alone.tokens).argmax(-1))
    # The last token depends on no other target, so it can be made the model's own choice, or not.
    for row, length in enumerate(LENGTHS):
        alone.loss_weights[row] = 0.0
        alone.loss_weights[row, length - 1] = 2.0
        alone.tokens[row, length - 1] = first_choice[row, length - 2] + row % 2
    assert probed(model, alone).sample_accuracy.tolist() == [1.0, 0.0] * 4


def test_dropout_changes_with_the_sample_key_alone(load_tiny) -> None:
    model, alone = load_tiny(**Case(lora=DROPPING).model), samples()
    first, again = probed(model, alone), probed(model, alone)
    np.testing.assert_array_equal(first.sample_loss, again.sample_loss)
    other_keys = alone.sample_keys + np.array([[100], *[[0]] * 7], np.uint32)
    other = probed(model, replace(alone, sample_keys=other_keys))
    assert other.sample_loss[0] != first.sample_loss[0]
    np.testing.assert_array_equal(other.sample_loss[1:], first.sample_loss[1:])


COARSE = {
    f"{adapter}_{head}_remat_{remat}": Case(
        lora=ADAPTERS[adapter], remat=remat, parts=2, config={"tie_word_embeddings": HEADS[head]}
    )
    for (adapter, head), remat in zip(product(ADAPTERS, HEADS), cycle(Remat), strict=False)
}


@pytest.mark.parametrize("case", COARSE)
def test_bfloat16_figures_are_those_of_vmap_grad_in_bfloat16(load_tiny, case: str) -> None:
    way = COARSE[case]
    model, alone = load_tiny(**way.model, compute=ComputeType.BFLOAT16), samples()
    lines, places = packed_of(alone)
    ours = probed(model, lines, parts=way.parts)
    # Losses come from the same forward pass. Backwards bfloat16 rounds by up to 2^-9 at each product: autodiff rounds
    # what becomes a weight's gradient, which the step sums in float32, and the step what leaves the head, which
    # autodiff has in float32. Two such roundings were the most seen in a norm, seven in an element of the update.
    assert_agrees(ours, places, vmap_grad(model, alone), alone, norm_rtol=2**-7, update_rtol=2**-6)

    # The norms themselves are not rounded: each is that of the update that its sample would make alone.
    for row in ROWS:
        own = replace(alone, loss_weights=np.where(ROWS[:, None] == row, alone.loss_weights, 0.0))
        update = probed(model, packed_of(own)[0], parts=way.parts).gradient
        np.testing.assert_allclose(ours.sample_grad_norm[places[row]], optax.tree.norm(update), rtol=1e-5)


@pytest.mark.parametrize("case", COARSE)
def test_bfloat16_keeps_masters_and_figures_in_float32(load_tiny, case: str) -> None:
    way = COARSE[case]
    exact, coarse = load_tiny(**way.model), load_tiny(**way.model, compute=ComputeType.BFLOAT16)
    assert types_of(coarse.trainable) == {"float32"}
    assert types_of(coarse.frozen) == (set() if way.lora is None else {"bfloat16"})
    expected, ours = (probed(model, packed_of(samples())[0], parts=way.parts) for model in (exact, coarse))
    assert types_of(ours) == {"float32", "int32"}
    np.testing.assert_allclose(ours.sample_loss, expected.sample_loss, rtol=3e-2)
    assert not np.array_equal(ours.sample_loss, expected.sample_loss)


def types_of(tree: Any) -> set[str]:
    return {leaf.dtype.name for leaf in jax.tree.leaves(tree)}
