"""The guard's verdicts on sequences of readings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aft_contracts import DetectionSpec, Withheld
from aft_worker.train.guard import CODES, GuardState, empty_guard, judge

DETECTION = DetectionSpec(min_steps=8, history_steps=16, max_rejections=3)
_judge = jax.jit(judge, static_argnames="detection")


def verdicts(
    readings: list[tuple[float, float]], *, guard: GuardState | None = None, skip: bool = False
) -> tuple[GuardState, list[Withheld | None]]:
    """The guard and its words after (loss, gradient norm) readings, oldest first."""
    guard = guard or empty_guard(DETECTION)
    words = []
    for loss, norm in readings:
        guard, code = _judge(guard, jnp.float32(loss), jnp.float32(norm), jnp.bool(skip), detection=DETECTION)
        words.append(CODES[int(code)])
    return guard, words


def clean(count: int, loss: float = 2.0, seed: int = 0) -> list[tuple[float, float]]:
    rng = np.random.default_rng(seed)
    return [(loss + 0.1 * rng.normal(), float(np.exp(0.2 * rng.normal()))) for _ in range(count)]


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        ((2.1, 1.1), None),
        ((0.1, 1e-6), None),
        ((5.0, 1.0), Withheld.LOSS),
        ((2.0, 50.0), Withheld.GRAD_NORM),
        ((5.0, 50.0), Withheld.LOSS),
        ((NAN, 1.0), Withheld.NON_FINITE),
        ((2.0, INF), Withheld.NON_FINITE),
        ((2.0, 0.0), None),
    ],
)
def test_armed_guard_says(reading: tuple[float, float], expected: Withheld | None) -> None:
    armed, _ = verdicts(clean(8))
    assert verdicts([reading], guard=armed)[1] == [expected]


def test_unarmed_guard_refuses_only_what_is_not_finite() -> None:
    _, words = verdicts([*clean(4), (50.0, 1e4), (NAN, 1.0), (2.0, 1.0)])
    assert words == [None] * 5 + [Withheld.NON_FINITE, None]


@pytest.mark.parametrize("outlier", [(9.0, 1.0), (2.0, 80.0), (NAN, NAN), (INF, 1.0)])
def test_outlier_never_enters_the_history(outlier: tuple[float, float]) -> None:
    armed, _ = verdicts(clean(12))
    after, _ = verdicts([outlier], guard=armed)
    for field in ("losses", "log_grad_norms", "count", "cursor"):
        np.testing.assert_array_equal(getattr(after, field), getattr(armed, field))
    assert int(after.rejections) == int(np.isfinite(outlier).all())


def test_eight_spikes_are_each_refused() -> None:
    spikes = [reading for calm in clean(8, seed=1) for reading in (calm, (6.0, 30.0))]
    _, words = verdicts([*clean(16), *spikes])
    assert words == [None] * 16 + [None, Withheld.LOSS] * 8


def test_level_shift_is_accepted_after_max_rejections_and_learnt() -> None:
    guard, words = verdicts([*clean(16), *clean(12, loss=6.0, seed=1)])
    assert words == [None] * 16 + [Withheld.LOSS] * 3 + [None] * 9
    assert int(guard.count) == 9
    assert verdicts([(10.0, 1.0)], guard=guard)[1] == [Withheld.LOSS]


def test_non_finite_is_refused_however_often_it_comes() -> None:
    guard, words = verdicts([*clean(8), *[(NAN, 1.0)] * 10])
    assert words[8:] == [Withheld.NON_FINITE] * 10
    assert verdicts([(2.0, 1.0)], guard=guard)[1] == [None]


def test_skipped_step_leaves_the_guard_alone() -> None:
    armed, _ = verdicts(clean(8))
    after, words = verdicts([(2.0, 1.0)], guard=armed, skip=True)
    assert words == [Withheld.SKIPPED]
    jax.tree.map(np.testing.assert_array_equal, after, armed)


def test_identical_readings_do_not_make_a_hair_trigger() -> None:
    armed, _ = verdicts([(2.0, 1.0)] * 8)
    assert verdicts([(2.25, 1.5)], guard=armed)[1] == [None]


def test_history_forgets_what_is_older_than_its_length() -> None:
    falling = [(4.0 - 0.1 * step, 1.0) for step in range(34)]
    guard, words = verdicts(falling)
    assert words == [None] * 34
    np.testing.assert_allclose(np.sort(guard.losses), [4.0 - 0.1 * step for step in range(33, 17, -1)], rtol=1e-5)


def test_noisy_training_raises_almost_no_false_alarm() -> None:
    detection = DetectionSpec()

    def run(key: jax.Array) -> jax.Array:
        noise_key, norm_key = jax.random.split(key)
        steps = jnp.arange(400)
        losses = 1.2 + 2.0 * jnp.exp(-steps / 150) + 0.15 * jax.random.normal(noise_key, steps.shape)
        norms = jnp.exp(0.3 * jax.random.normal(norm_key, steps.shape))

        def step(guard: GuardState, reading: tuple[jax.Array, jax.Array]) -> tuple[GuardState, jax.Array]:
            return judge(guard, *reading, jnp.bool(False), detection)

        return (jax.lax.scan(step, empty_guard(detection), (losses, norms))[1] != 0).sum()

    alarms = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), 50))
    assert int(alarms.sum()) <= 1  # of 20,000 clean steps
