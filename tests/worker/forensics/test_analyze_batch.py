"""The textbook per-sample analysis on a function whose gradients are known."""

import jax.numpy as jnp
import numpy as np

from aft_worker.forensics.analyze_batch import analyze_batch


def squared_error(parameters, sample):
    x, y = sample
    return 0.5 * (parameters["slope"] @ x + parameters["offset"] - y) ** 2


PARAMETERS = {"slope": jnp.array([1.0, -2.0]), "offset": jnp.array(0.5)}
BATCH = (jnp.array([[1.0, 0.0], [0.0, 1.0], [3.0, 1.0]]), jnp.array([0.0, 0.0, 1.5]))
RESIDUALS = np.array([1.5, -1.5, 0.0])


def test_figures_are_those_of_each_sample_alone() -> None:
    analysis = analyze_batch(squared_error, PARAMETERS, BATCH)
    np.testing.assert_allclose(analysis.losses, 0.5 * RESIDUALS**2, rtol=1e-6)
    np.testing.assert_allclose(analysis.grad_norms, np.abs(RESIDUALS) * np.sqrt([2.0, 2.0, 11.0]), rtol=1e-6)
    assert analysis.gradients is None


def test_gradients_are_kept_when_asked_for() -> None:
    analysis = analyze_batch(squared_error, PARAMETERS, BATCH, keep_gradients=True)
    assert analysis.gradients is not None
    np.testing.assert_allclose(analysis.gradients["slope"], RESIDUALS[:, None] * np.asarray(BATCH[0]), rtol=1e-6)
    np.testing.assert_allclose(analysis.gradients["offset"], RESIDUALS, rtol=1e-6)
