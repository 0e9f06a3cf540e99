"""The baseline of the forensics is aft's own step, and its norms are really gone."""

import re

import jax
import numpy as np
import optax
import pytest

from aft_worker.trainer import Trainer
from benchmarks import programs
from benchmarks.forensics_overhead import refuse_another_update
from benchmarks.runs import open_trainer

ROWS, LENGTH, SIZE, INNER = 3, 37, 64, 128
GRAM = rf"f32\[{ROWS},{LENGTH},{LENGTH}\]\S* dot\("
"""Token by token, sample by sample; those of the attention have heads as well."""
SQUARE = rf"f32\[(?:1,)?(?:{SIZE},{INNER}|{INNER},{SIZE})\]\S* multiply\((\S+), \1\)"
"""A gradient of one layer of one sample, squared; those that Adam squares hold both layers."""


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    """A tiny run, fully fine-tuned."""
    return open_trainer("tiny", batch_size=ROWS, length=LENGTH, lora=False)


@pytest.fixture(scope="module")
def arms(trainer: Trainer) -> dict[str, programs.Program]:
    """The step with and without its figures."""
    forms = {
        "with": programs.with_figures,
        "without": programs.without_figures,
        "without_norms": programs.without_norms,
    }
    return {name: programs.compiled(trainer, form(trainer)) for name, form in forms.items()}


def test_rows_fill_their_lines(trainer: Trainer) -> None:
    _, weights = programs.compiled(trainer, lambda state, *_: (state, ())).batch
    np.testing.assert_array_equal(np.asarray(weights)[:, 1:], 1.0)


@pytest.mark.parametrize("work", [GRAM, SQUARE])
def test_without_figures_their_work_is_gone(arms: dict[str, programs.Program], work: str) -> None:
    found = {name: len(re.findall(work, program.compiled.as_text())) for name, program in arms.items()}
    assert found["with"] > 0
    assert found["without"] == found["without_norms"] == 0


def test_the_update_is_the_same_to_the_last_bit(arms: dict[str, programs.Program]) -> None:
    before = [np.asarray(leaf) for leaf in jax.tree.leaves(arms["with"].state.trainable)]
    refuse_another_update(arms["with"], arms["without"], arms["without_norms"])
    after = [np.asarray(leaf) for leaf in jax.tree.leaves(arms["with"].state.trainable)]
    assert any((a != b).any() for a, b in zip(after, before, strict=True))


def test_other_forms_make_the_same_update(trainer: Trainer, arms: dict[str, programs.Program]) -> None:
    """To rounding; Adam's first update is all signs, so its first moment is compared."""
    start = programs.compiled(trainer, programs.with_figures(trainer))
    start()
    for form in (programs.by_autodiff, programs.by_vmap, programs.without_figures_in_one_product):
        other = programs.compiled(trainer, form(trainer))
        other()
        ours, theirs = (jax.tree.leaves(program.state.opt_state[0].mu) for program in (start, other))
        for given, expected in zip(theirs, ours, strict=True):
            np.testing.assert_allclose(given, expected, rtol=1e-3, atol=2e-5 * float(np.abs(expected).max()))


def test_the_bare_loop_makes_the_same_gradient(trainer: Trainer, arms: dict[str, programs.Program]) -> None:
    """Seen as the change that plain gradient descent makes."""
    step = programs.bare_step(trainer, optax.sgd(1.0), figures=True)
    start = programs.first_state(trainer).trainable
    before = [np.asarray(leaf) for leaf in jax.tree.leaves(start)]
    inputs = programs.inputs_at(trainer, 0)
    after, _, loss, figures = step(start, optax.sgd(1.0).init(start), trainer.model.frozen, inputs)
    frozen = trainer.model.frozen
    expected_loss, expected = jax.value_and_grad(programs.plain_loss(trainer, frozen))(
        programs.first_state(trainer).trainable, arms["with"].batch
    )
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    assert figures is not None
    assert figures.sample_grad_norm.shape == (ROWS,)
    for old, new, gradient in zip(before, jax.tree.leaves(after), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(old - np.asarray(new), gradient, atol=1e-5 * float(np.abs(gradient).max()) + 1e-6)
