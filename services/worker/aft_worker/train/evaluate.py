"""EvalLoss: the summed loss of a batch, without gradients."""

# B batch, T tokens

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int

from aft_worker.model.load import LoadedModel
from aft_worker.model.mesh import by_rows, sum_over_data
from aft_worker.model.parameters import Parameters
from aft_worker.train.weighting import weighting


class EvalLoss:
    """trainable, tokens, loss_weights -> (sum of weight * nll in nats, sum of weights)."""

    def __init__(self, model: LoadedModel, mesh: Mesh) -> None:
        self._graphdef, self._frozen, self._mesh = model.graphdef, model.frozen, mesh
        self._compiled = jax.jit(self._sums)

    def __call__(
        self, trainable: Parameters, tokens: Int[Array, "batch tokens"], loss_weights: Float[Array, "batch tokens"]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        # Rows of weight zero fill up what the devices cannot share evenly.
        missing = -tokens.shape[0] % self._mesh.shape["data"]
        padded = (np.pad(np.asarray(array), ((0, missing), (0, 0))) for array in (tokens, loss_weights))
        placed = (jax.device_put(array, by_rows(self._mesh)) for array in padded)
        sum_nll, sum_weights = self._compiled(trainable, self._frozen, *placed)
        return sum_nll, sum_weights

    def _sums(
        self, trainable: Parameters, frozen: Parameters, tokens: Array, loss_weights: Array
    ) -> tuple[Array, Array]:
        def of_rows(
            trainable: Parameters, frozen: Parameters, tokens: Array, loss_weights: Array
        ) -> tuple[Array, Array]:
            batch = weighting(tokens, loss_weights)
            decoder = nnx.merge(self._graphdef, trainable, frozen)
            nll_BT = decoder.scores(tokens, batch.targets, batch.needed).nll
            return sum_over_data(((batch.weights * nll_BT).sum(), batch.totals.sum()), self._mesh)

        rows, whole = PartitionSpec("data"), PartitionSpec()
        split = jax.shard_map(
            of_rows,
            mesh=self._mesh,
            in_specs=(whole, whole, rows, rows),
            out_specs=(whole, whole),
            axis_names={"data"},
            check_vma=False,
        )
        sums: tuple[Array, Array] = split(trainable, frozen, tokens.astype(jnp.int32), loss_weights)
        return sums
