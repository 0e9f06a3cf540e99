"""Held-out loss without gradients."""

import jax
import numpy as np
import optax
from flax import nnx

from aft_worker.model.mesh import make_mesh
from aft_worker.train.evaluate import EvalLoss


def test_sums_are_those_of_plain_cross_entropy(load_tiny, make_inputs) -> None:
    model, inputs = load_tiny(), make_inputs(rows=3)
    sum_nll, sum_weights = EvalLoss(model, make_mesh())(model.trainable, inputs.lines.tokens, inputs.lines.loss_weights)

    @jax.jit
    def plain(trainable: nnx.State) -> jax.Array:
        logits = nnx.merge(model.graphdef, trainable, model.frozen).logits(inputs.lines.tokens)
        nll = optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], inputs.lines.tokens[:, 1:])
        return (inputs.lines.loss_weights[:, 1:] * nll).sum()

    np.testing.assert_allclose(sum_nll, plain(model.trainable), rtol=1e-5)
    np.testing.assert_allclose(sum_weights, inputs.lines.loss_weights[:, 1:].sum(), rtol=1e-6)


def test_batch_without_weight_sums_to_zero(load_tiny, make_inputs) -> None:
    model, inputs = load_tiny(), make_inputs(loss_weights=np.zeros((4, 12), np.float32))
    sums = EvalLoss(model, make_mesh())(model.trainable, inputs.lines.tokens, inputs.lines.loss_weights)
    assert [float(value) for value in sums] == [0.0, 0.0]
