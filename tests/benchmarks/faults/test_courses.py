"""Faults of course and state do to a tiny model what they say, and nothing else."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aft_contracts import DataSpec, DomainSpec, ModelSpec, OptimSpec, RunSpec, Schedule, StepRecord, Verdict
from aft_worker.model.mesh import make_mesh
from aft_worker.model.parameters import flat
from aft_worker.train.state import TrainState, init_state
from aft_worker.trainer import Trainer, load_trainer
from benchmarks.faults.case import FIRST_STEPS, WINDOW_STEPS, Case
from benchmarks.faults.course_faults import (
    COURSE_FAULTS,
    HARD_FAULTS,
    Explosion,
    RateSpike,
    RateTooHigh,
    RateTooHighFromStart,
    UnrecordedRate,
)
from benchmarks.faults.faulty_trainer import FaultyTrainer
from benchmarks.faults.files import write_rows
from benchmarks.faults.ruled_step import RuledPrograms, RuledStep
from benchmarks.faults.rules import Reading, Rule, Ruling
from benchmarks.faults.state_faults import LAYERS, CorruptedMoments, FlippedBit, StoredDamage
from examples.tiny_model import write_tiny_model

RATE = 1e-3


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """Of a tiny Llama, all of it trained, on a few words."""
    folder = tmp_path_factory.mktemp("run")
    write_tiny_model(folder / "model")
    write_rows(
        folder / "chat.jsonl", [{"id": f"c{i}", "text": f"{['red', 'green', 'blue'][i % 3]} {i}"} for i in range(64)]
    )
    spec = RunSpec(
        model=ModelSpec(path=str(folder / "model"), lora=None),
        data=DataSpec(domains={"chat": DomainSpec(path=str(folder / "chat.jsonl"))}, max_length=16),
        optim=OptimSpec(steps=240, batch_size=2, learning_rate=RATE, warmup_steps=0, curve="constant"),
    )
    return load_trainer(spec, make_mesh())


def under(trainer: Trainer, case: Case) -> FaultyTrainer:
    return FaultyTrainer(**vars(trainer), case=case)


def fresh(trainer: Trainer) -> TrainState:
    return init_state(trainer.model, trainer.spec.optim, trainer.spec.detection)


def weights(state: TrainState) -> dict[tuple[str, ...], np.ndarray[Any, Any]]:
    return {path: np.array(variable.get_value()) for path, variable in flat(state.trainable)}


def moved(before: TrainState, after: TrainState) -> float:
    """How far the weights are apart at most."""
    pairs = zip(weights(before).values(), weights(after).values(), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def step_of(trainer: Trainer, case: Case, step: int) -> tuple[float, StepRecord]:
    """How far a first step at `step` moves the weights, and its record; Adam's first is as long as the rate."""
    after, record = under(trainer, case).advance(fresh(trainer), step, Schedule())
    return moved(fresh(trainer), after), record


@pytest.mark.parametrize(
    ("fault", "used", "recorded"), [(RateSpike, 50, 50), (UnrecordedRate, 50, 1), (RateTooHigh, 16, 16)]
)
def test_a_rate_is_used_and_recorded_as_the_fault_says(
    trainer: Trainer, fault: type[Case], used: float, recorded: float
) -> None:
    case = fault(0)
    length, record = step_of(trainer, case, case.first_step)
    usual, before = step_of(trainer, case, case.first_step - 1)
    assert usual == pytest.approx(RATE, rel=1e-2)
    assert length == pytest.approx(used * RATE, rel=1e-2)
    assert record.lr == pytest.approx(recorded * before.lr)


def test_a_spike_is_over_after_four_steps_and_the_other_rate_is_not() -> None:
    spike, high = RateSpike(0), RateTooHigh(0)
    assert [spike.rate_factor(spike.first_step + after) for after in (-1, 0, 3, 4)] == [1, 50, 50, 1]
    assert [high.rate_factor(high.first_step + after) for after in (-1, 0, 50)] == [1, 16, 16]


def test_a_rate_that_is_too_high_from_the_start_never_jumps() -> None:
    case = RateTooHighFromStart(0)
    assert case.truth.first_step == 0
    assert {(case.rate_factor(step), case.recorded_factor(step)) for step in range(240)} == {(16.0, 16.0)}


def test_an_explosion_is_of_one_gradient_and_leaves_loss_and_weights_alone(trainer: Trainer) -> None:
    case = Explosion(0)
    first = case.first_step
    state = fresh(trainer)
    torn = case.before(state, first)
    repaired = case.after(torn, first)
    assert moved(state, repaired) < 1e-5
    assert moved(state, torn) > 0.01
    _, exploding = under(trainer, case).advance(fresh(trainer), first, Schedule())
    _, usual = under(trainer, Case(0)).advance(fresh(trainer), first, Schedule())
    assert exploding.loss == pytest.approx(usual.loss, rel=1e-3)
    assert exploding.grad_norm > 100 * usual.grad_norm
    assert [case.before(state, step) is state for step in (first - 1, first + 1, first + 2)] == [True, False, True]


@pytest.mark.parametrize("seed", range(6))
def test_a_flipped_bit_is_one_bit_of_one_weight_for_one_step(trainer: Trainer, seed: int) -> None:
    case, state = FlippedBit(seed), fresh(trainer)
    assert case.first_step % WINDOW_STEPS == 5
    assert FIRST_STEPS.start <= case.first_step < FIRST_STEPS.stop
    assert case.before(state, case.first_step - 1) is state
    damaged = case.before(state, case.first_step)
    (path, old, new) = the_changed_weight(state, damaged)
    assert path[-1] == "kernel"
    assert set(path) & set(LAYERS)
    assert old.view(np.uint32) ^ new.view(np.uint32) == 1 << 30
    assert moved(state, case.after(damaged, case.first_step)) == 0.0
    assert case.before(state, case.first_step) is state  # trained again, nothing happens


def test_bits_flip_in_every_layer_that_is_named() -> None:
    assert {FlippedBit(seed)._name for seed in range(60)} == set(LAYERS)


def test_stored_damage_is_in_the_checkpoint_of_the_window_before_its_first_harmful_step(trainer: Trainer) -> None:
    case, state = StoredDamage(1), fresh(trainer)
    assert case.first_step % WINDOW_STEPS == 0
    assert case.truth.verdict is Verdict.STATE
    assert case.after(state, case.first_step) is state
    damaged = case.after(state, case.first_step - 1)
    the_changed_weight(state, damaged)
    assert case.after(state, case.first_step - 1) is state


def test_corrupted_moments_are_the_second_ones_alone(trainer: Trainer) -> None:
    case = CorruptedMoments(1)
    state, _ = trainer.advance(fresh(trainer), 0, Schedule())
    damaged = case.after(state, case.first_step - 1)
    assert moved(state, damaged) == 0.0
    changed = {
        jax.tree_util.keystr(path)
        for (path, old), new in zip(
            jax.tree_util.tree_leaves_with_path(state.opt_state), jax.tree.leaves(damaged.opt_state), strict=True
        )
        if not np.array_equal(old, new)
    }
    assert changed
    assert all(".nu" in path for path in changed)


@pytest.mark.parametrize("fault", [*COURSE_FAULTS, *HARD_FAULTS])
def test_a_course_fault_strikes_however_often_a_step_is_trained(fault: type[Case]) -> None:
    case = fault(0)
    first = case.first_step
    assert case.truth.verdict is Verdict.OPTIMISATION
    assert [case.rate_factor(first) for _ in range(2)] == [case.rate_factor(first)] * 2


def test_a_clip_that_a_rule_asks_for_is_applied(trainer: Trainer) -> None:
    class Half(Rule):
        def rule(self, reading: Reading) -> Ruling:
            return Ruling(clip_norm=reading.grad_norm / 2)

    programs = RuledPrograms(trainer.model, trainer.spec.optim.model_copy(update={"clip_norm": 1e9}), trainer.mesh)
    moments = []
    for rule in (Rule(), Half()):
        step: Any = RuledStep(programs=programs, rule=rule)
        loose = trainer.spec.model_copy(update={"optim": trainer.spec.optim.model_copy(update={"clip_norm": 1e9})})
        state, _ = replace(trainer, train_step=step, spec=loose).advance(fresh(trainer), 0, Schedule())
        moments.append(first_moment(state))
    assert moments[1] == pytest.approx(moments[0] / 2, rel=1e-5)


def first_moment(state: TrainState) -> float:
    leaves = jax.tree_util.tree_leaves_with_path(state.opt_state)
    squares = [float(jnp.sum(leaf**2)) for path, leaf in leaves if ".mu" in jax.tree_util.keystr(path)]
    return sum(squares) ** 0.5


def the_changed_weight(before: TrainState, after: TrainState) -> tuple[tuple[str, ...], np.float32, np.float32]:
    """Where the one changed weight lies, and its two values."""
    old, new = weights(before), weights(after)
    (found,) = [
        (path, old[path][place], new[path][place])
        for path in old
        for place in map(tuple, np.argwhere(old[path].view(np.uint32) != new[path].view(np.uint32)))
    ]
    return found
