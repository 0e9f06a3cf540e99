"""A batch's figures as the training step computes them, and each sample's by vmap(grad): what they are held against."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from aft_contracts import ComputeType, Remat
from aft_worker.forensics.analyze_batch import SampleAnalysis, analyze_batch
from aft_worker.model.dropout import token_keys
from aft_worker.model.load import LoadedModel
from aft_worker.model.mesh import by_rows, make_mesh
from aft_worker.model.packing import positions_of
from aft_worker.model.probed.probe import Probe
from aft_worker.train.gradients import BatchGradients, Lines, batch_gradients
from aft_worker.train.weighting import weighting
from tests.worker.train.samples import PACKED, ROWS, masked, packed_of, samples, shares_of

quick_jit = partial(
    jax.jit,
    compiler_options={
        # These programs run a few times each, so what they cost is compiling them. Half of that are LLVM's
        # optimisations, and half of the rest the fusion emitters: without, XLA writes the same by its older means.
        "xla_backend_optimization_level": 0,
        "xla_cpu_use_fusion_emitters": False,
        # Else XLA keeps some uses of a bfloat16 value in float32 and not others, by 1e-4 of a norm.
        "xla_allow_excess_precision": False,
    },
)


def probed(model: LoadedModel, lines: Lines, *, parts: int = 1, mesh: Mesh | None = None) -> BatchGradients:
    """The figures of the one backward pass, the lines placed on `mesh` as the training step places them."""
    mesh = mesh or make_mesh()
    lines = lines if _drops(model) else replace(lines, sample_keys=None)
    packed = 1 if lines.segments is None else PACKED
    placed = jax.device_put(lines, jax.tree.map(lambda _: by_rows(mesh), lines))
    return _probed(model.graphdef, model.trainable, model.frozen, placed, mesh, packed=packed, parts=parts)


# The model's structure is static, like a shape: tests of the same structure share a program.
@partial(quick_jit, static_argnames=("graphdef", "mesh", "packed", "parts"))
def _probed(
    graphdef: Any, trainable: Any, frozen: Any, lines: Lines, mesh: Mesh, *, packed: int, parts: int
) -> BatchGradients:
    return batch_gradients(graphdef, trainable, frozen, lines, mesh, packed=packed, parts=parts)


def vmap_grad(model: LoadedModel, alone: Lines) -> SampleAnalysis:
    """Loss and gradient of each sample alone, by plain autodiff of the model's own forward pass, all of it kept."""
    decoder = nnx.merge(model.graphdef, model.trainable, model.frozen)
    decoder.remat = Remat.NONE
    samples = jax.tree.map(jnp.asarray, (alone.tokens, alone.loss_weights, alone.sample_keys))
    return _vmap_grad(nnx.graphdef(decoder), model.trainable, model.frozen, samples, drops=_drops(model))


@partial(quick_jit, static_argnames=("graphdef", "drops"))
def _vmap_grad(graphdef: Any, trainable: Any, frozen: Any, samples: Any, *, drops: bool) -> SampleAnalysis:
    def own_loss(trainable: Any, sample: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        tokens, loss_weights, key = (leaf[None] for leaf in sample)
        batch = weighting(tokens, loss_weights)
        decoder = nnx.merge(graphdef, trainable, frozen)
        if drops:  # Noise comes with a probe, and a probe with the step's own head, which is frozen here.
            noise = token_keys(key, positions_of(tokens.shape[1], None), None)
            nll = decoder.scores(tokens, batch.targets, batch.needed, probe=Probe(None, None, None, noise)).nll
        else:
            log_shares = jax.nn.log_softmax(decoder.logits(tokens))
            nll = -jnp.take_along_axis(log_shares, batch.targets[..., None], axis=2)[..., 0]
        return (batch.weights * nll).sum() / batch.weights.sum()

    return analyze_batch(own_loss, trainable, samples, keep_gradients=True)


def _drops(model: LoadedModel) -> bool:
    return model.lora is not None and model.lora.dropout > 0


def assert_own_figures(model: LoadedModel, *, parts: int) -> None:
    """Every sample has the figures that it has alone, on a line of its own as on one that it shares."""
    alone = samples()
    lines, places = packed_of(alone)
    expected = vmap_grad(model, alone)
    single, together = probed(model, alone, parts=parts), probed(model, lines, parts=parts)
    assert_agrees(single, ROWS, expected, alone)
    assert_agrees(together, places, expected, alone)
    for figure in ("sample_loss", "sample_grad_norm"):
        np.testing.assert_allclose(getattr(together, figure)[places], getattr(single, figure), rtol=1e-5)
    for figure in ("sample_tokens", "sample_accuracy"):
        np.testing.assert_array_equal(getattr(together, figure)[places], getattr(single, figure))


def assert_blind_to_masked_tokens(model: LoadedModel, *, parts: int) -> None:
    """What the tokens of a sample without weight are changes no bit of the update nor of any figure."""
    left, emptied = (masked(samples(), 1, tokens=tokens) for tokens in (False, True))
    for pair in [(left, emptied), (packed_of(left)[0], packed_of(emptied)[0])]:
        first, second = (jax.tree.leaves(probed(model, lines, parts=parts)) for lines in pair)
        for one, other in zip(first, second, strict=True):
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


# For norms, and for elements of the update in shares of their parameter's largest. In bfloat16 the forward pass is the
# same, but on the way back each rounding is up to 2^-9, and the step and autodiff round in different places: autodiff
# every sample's gradient of a weight, which the step sums in float32; the step what leaves its head, about half of the
# difference, which autodiff has in float32. The most seen were 2.3 roundings in a norm and 6.7 in an element.
TOLERANCES = {ComputeType.FLOAT32: (1e-5, 1e-5), ComputeType.BFLOAT16: (2**-7, 2**-6)}


def assert_agrees(
    ours: BatchGradients,
    places: np.ndarray,
    expected: SampleAnalysis,
    alone: Lines,
    compute: ComputeType = ComputeType.FLOAT32,
) -> None:
    """Each sample's figures, which stand at `places`, and the update are those of vmap(grad)."""
    norm_rtol, update_rtol = TOLERANCES[compute]
    np.testing.assert_allclose(ours.sample_loss[places], expected.losses, rtol=1e-5)
    np.testing.assert_allclose(ours.sample_grad_norm[places], expected.grad_norms, rtol=norm_rtol)
    shares = shares_of(alone)
    np.testing.assert_allclose(ours.loss, shares @ np.asarray(expected.losses), rtol=1e-5)
    for given, own in zip(jax.tree.leaves(ours.gradient), jax.tree.leaves(expected.gradients), strict=True):
        np.testing.assert_array_less(relative_error(given, np.tensordot(shares, np.asarray(own), 1)), update_rtol)


def relative_error(given: Any, expected: Any) -> float:
    """The largest difference of two arrays, as a share of the largest value expected."""
    given, expected = np.asarray(given), np.asarray(expected)
    return float(np.max(np.abs(given - expected)) / np.max(np.abs(expected)))
