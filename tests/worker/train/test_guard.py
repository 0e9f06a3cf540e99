"""The guard's verdicts on sequences of readings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aft_api.healing.robust import scale_of
from aft_contracts import DetectionSpec, Withheld
from aft_worker.train.guard import CODES, GuardState, empty_guard, judge, log_norm_z, loss_z, rearmed

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


def test_rearmed_guard_has_seen_nothing() -> None:
    armed, _ = verdicts([*clean(12), (9.0, 1.0)])
    assert int(armed.rejections) == 1
    jax.tree.map(np.testing.assert_array_equal, rearmed(armed, jnp.bool(True)), empty_guard(DETECTION))
    jax.tree.map(np.testing.assert_array_equal, rearmed(armed, jnp.bool(False)), armed)
    anew = rearmed(armed, jnp.bool(True))
    assert verdicts([*clean(8, loss=6.0), (20.0, 1.0)], guard=anew)[1] == [None] * 8 + [Withheld.LOSS]


@pytest.mark.parametrize("count", [1, 2, 7, 8, 16, 40, 64])
@pytest.mark.parametrize("tail", [0.05, 0.5, 2.0])
def test_it_measures_as_the_detectors_of_the_supervisor_do(count: int, tail: float) -> None:
    detection = DetectionSpec()
    rng = np.random.default_rng(count)
    losses = (2.0 + rng.lognormal(-2.0, tail, count)).astype(np.float32)
    norms = rng.lognormal(0.0, tail, count).astype(np.float32)
    guard = empty_guard(detection)
    guard = GuardState(
        losses=guard.losses.at[:count].set(losses),
        log_grad_norms=guard.log_grad_norms.at[:count].set(jnp.log(norms)),
        count=jnp.int32(count),
        cursor=jnp.int32(count % detection.history_steps),
        rejections=guard.rejections,
    )
    floor = max(detection.loss_floor_nats, detection.loss_floor_share * float(np.median(losses)))
    of_loss = scale_of(losses.tolist(), floor=floor, trim_z=detection.trim_z)
    of_norm = scale_of(np.log(norms).tolist(), floor=detection.grad_norm_floor, trim_z=detection.trim_z)
    np.testing.assert_allclose(loss_z(guard, jnp.float32(5.0), detection), of_loss.z(5.0), rtol=1e-4)
    np.testing.assert_allclose(log_norm_z(guard, jnp.float32(3.0), detection), of_norm.z(3.0), rtol=1e-4)


def test_history_forgets_what_is_older_than_its_length() -> None:
    falling = [(4.0 - 0.1 * step, 1.0) for step in range(34)]
    guard, words = verdicts(falling)
    assert words == [None] * 34
    np.testing.assert_allclose(np.sort(guard.losses), [4.0 - 0.1 * step for step in range(33, 17, -1)], rtol=1e-5)


def _gaussian(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.normal(key, shape)


def _heavy_tailed(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """A tail to the right, of variance one, as that of a batch loss whose rows differ in length."""
    return jax.random.gamma(key, 2.0, shape) / jnp.sqrt(2.0) - jnp.sqrt(2.0)


@pytest.mark.parametrize(
    ("noise", "most"),
    [
        pytest.param(_gaussian, 1, id="normal"),
        pytest.param(_heavy_tailed, 4, id="heavy-tailed"),  # one in ten thousand readings; by the MAD alone it is 38
    ],
)
def test_noisy_training_raises_almost_no_false_alarm(noise, most) -> None:
    detection = DetectionSpec()

    def run(key: jax.Array) -> jax.Array:
        noise_key, norm_key = jax.random.split(key)
        steps = jnp.arange(400)
        losses = 1.2 + 2.0 * jnp.exp(-steps / 150) + 0.15 * noise(noise_key, steps.shape)
        norms = jnp.exp(0.3 * noise(norm_key, steps.shape))

        def step(guard: GuardState, reading: tuple[jax.Array, jax.Array]) -> tuple[GuardState, jax.Array]:
            return judge(guard, *reading, jnp.bool(False), detection)

        return (jax.lax.scan(step, empty_guard(detection), (losses, norms))[1] != 0).sum()

    alarms = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), 50))
    assert int(alarms.sum()) <= most  # of 20,000 clean steps, each with two readings
