"""The token embedding, trained, with the part that it shares with a tied head."""

# B lines of the batch, T tokens, D hidden size, V vocabulary

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from aft_worker.model.probed.probe import Probe, product

Tie = Float[Array, "batch tokens hidden"]
"""Zeros that the embedding hands to a tied head.

Head and embedding add up in one table, so a sample's squared norm is ||E||^2 + ||H||^2 + 2 <E, H>. The head's backward
pass, which runs first, returns as cotangent of the tie the rows of its own gradient H that the sample's tokens look up;
the embedding's backward pass then has both sides of <E, H>.
"""


@jax.custom_vjp
def embed(
    tokens: Int[Array, "batch tokens"], table: Float[Array, "vocab hidden"], probe: Probe
) -> tuple[Float[Array, "batch tokens hidden"], Tie]:
    """The rows of `table` that `tokens` name, and the tie for a head that uses the same table."""
    rows_BTD = table[tokens]
    return rows_BTD, jnp.zeros_like(rows_BTD)


def _embed_forward(tokens: Array, table: Array, probe: Probe) -> tuple[tuple[Array, Tie], Any]:
    return embed(tokens, table, probe), (tokens, table, probe)


def _embed_backward(saved: Any, cotangents: tuple[Array, Tie]) -> tuple[None, Array, Probe]:
    tokens, table, probe = saved
    g_BTD, head_rows_BTD = cotangents
    same_BTT = tokens[:, :, None] == tokens[:, None, :]
    gram_BTT = jnp.where(same_BTT, probe.within_samples(product("btd,bsd->bts", g_BTD, g_BTD)), 0.0)
    own_BT = gram_BTT.sum(2) + 2.0 * (g_BTD * head_rows_BTD).sum(2)
    d_table = jnp.zeros_like(table).at[tokens].add(probe.weigh(g_BTD))
    return None, d_table, probe.cotangent(probe.sum_by_sample(own_BT))


embed.defvjp(_embed_forward, _embed_backward)
