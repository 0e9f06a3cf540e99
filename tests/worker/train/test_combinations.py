"""Per-sample figures and update in every combination of what a run may ask for, against vmap(grad) of each sample."""

from dataclasses import replace
from itertools import product

import jax
import numpy as np
import pytest
from flax import nnx

from aft_contracts import Remat
from tests.worker.train.oracle import assert_blind_to_masked_tokens, assert_own_figures, probed
from tests.worker.train.samples import LENGTHS, ROWS, packed_of, samples
from tests.worker.train.ways import ADAPTERS, DROPPING, HEADS, LORA, Way

COMBINATIONS = {
    f"{adapter}_{head}_parts_{parts}_remat_{remat}": Way(
        lora=ADAPTERS[adapter], remat=remat, parts=parts, config={"tie_word_embeddings": HEADS[head]}
    )
    for adapter, head, parts, remat in product(ADAPTERS, HEADS, (1, 2), Remat)
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_samples_have_their_own_figures_packed_or_not(load_tiny, name: str) -> None:
    way = COMBINATIONS[name]
    assert_own_figures(load_tiny(**way.model), parts=way.parts)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_tokens_of_a_masked_sample_change_no_bit(load_tiny, name: str) -> None:
    way = COMBINATIONS[name]
    assert_blind_to_masked_tokens(load_tiny(**way.model), parts=way.parts)


def test_neighbours_on_a_line_do_not_reach_a_sample(load_tiny) -> None:
    model, alone = load_tiny(**Way(lora=LORA).model), samples()
    lines, places = packed_of(alone)
    strangers = np.array(lines.tokens)
    strangers[1, : LENGTHS[1]] = 99  # sample 1 stands first on its line, before 4 and 6
    before, after = probed(model, lines), probed(model, replace(lines, tokens=strangers))
    others = places[ROWS != 1]
    for figure in ("sample_loss", "sample_grad_norm", "sample_accuracy"):
        np.testing.assert_array_equal(getattr(after, figure)[others], getattr(before, figure)[others])
    assert after.sample_loss[places[1]] != before.sample_loss[places[1]]


@pytest.mark.parametrize("lora", [None, LORA])
def test_overflowing_sample_spoils_its_own_figures_and_the_update_alone(load_tiny, lora) -> None:
    model, alone = load_tiny(**Way(lora=lora).model), samples()
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
    model, alone = load_tiny(**Way(lora=lora).model), samples()
    decode = jax.jit(lambda trainable, tokens: nnx.merge(model.graphdef, trainable, model.frozen).logits(tokens))
    first_choice = np.asarray(decode(model.trainable, alone.tokens).argmax(-1))
    # The last token depends on no other target, so it can be made the model's own choice, or not.
    for row, length in enumerate(LENGTHS):
        alone.loss_weights[row] = 0.0
        alone.loss_weights[row, length - 1] = 2.0
        alone.tokens[row, length - 1] = first_choice[row, length - 2] + row % 2
    assert probed(model, alone).sample_accuracy.tolist() == [1.0, 0.0] * 4


def test_dropout_changes_with_the_sample_key_alone(load_tiny) -> None:
    model, alone = load_tiny(**Way(lora=DROPPING).model), samples()
    first, again = probed(model, alone), probed(model, alone)
    np.testing.assert_array_equal(first.sample_loss, again.sample_loss)
    other_keys = alone.sample_keys + np.array([[100], *[[0]] * 7], np.uint32)
    other = probed(model, replace(alone, sample_keys=other_keys))
    assert other.sample_loss[0] != first.sample_loss[0]
    np.testing.assert_array_equal(other.sample_loss[1:], first.sample_loss[1:])
