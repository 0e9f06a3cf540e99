"""The language-model head and its cross-entropy as one operation, with a frozen table and with a trained one."""

# B lines of the batch, T tokens, N = B * T positions, C positions a chunk, D hidden size, V vocabulary

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from aft_worker.model.probed.embedding import Tie
from aft_worker.model.probed.probe import Probe, dense_gradient, product
from aft_worker.model.probed.soft_cap import soft_cap, through_cap

CHUNK_LOGITS = 6 * 2**20
"""Logits that are in memory at a time under a frozen head (24 MiB in float32); of SmolLM2, those of 128 positions."""


class TokenScores(NamedTuple):
    """What the head says of each target; zeros where no target is scored."""

    nll: Float[Array, "*positions"]
    """Cross-entropy, in nats."""
    hits: Float[Array, "*positions"]
    """1 where the target was the model's first choice, else 0; not differentiated."""


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def frozen_head_scores(
    hidden: Float[Array, "positions hidden"],
    table: Float[Array, "vocab hidden"],
    targets: Int[Array, " positions"],
    needed: Bool[Array, " positions"],
    cap: float | None,
) -> TokenScores:
    """`logsumexp(h E') - (h E')[target]` and whether the target led, where `needed`; the table is not trained.

    With a `cap` the logits are `cap * tanh(h E' / cap)`.
    Positions that carry no loss are never multiplied with the table, and no array of positions x vocabulary exists.
    """
    return TokenScores(*_in_chunks(partial(_chunk_scores, cap=cap), hidden, table, targets, needed))


def _frozen_forward(
    hidden: Array, table: Array, targets: Array, needed: Array, cap: float | None
) -> tuple[TokenScores, Array]:
    # The gradient is linear in the cotangent of each position, so it is made here, while the logits are at hand.
    nll_N, hits_N, pull_ND = _in_chunks(partial(_chunk_scores_and_pull, cap=cap), hidden, table, targets, needed)
    return TokenScores(nll_N, hits_N), pull_ND


def _frozen_backward(cap: float | None, pull_ND: Array, g: TokenScores) -> tuple[Array, None, None, None]:
    return pull_ND * g.nll[:, None].astype(pull_ND.dtype), None, None, None


frozen_head_scores.defvjp(_frozen_forward, _frozen_backward)


def _chunk_scores(hidden: Array, table: Array, targets: Array, *, cap: float | None) -> tuple[Array, Array]:
    logits_CV = soft_cap(product("cd,vd->cv", hidden, table), cap)
    own_C = _at(logits_CV, targets)
    return jax.nn.logsumexp(logits_CV, axis=1) - own_C, _is_first(own_C, logits_CV.max(1))


def _chunk_scores_and_pull(
    hidden: Array, table: Array, targets: Array, *, cap: float | None
) -> tuple[Array, Array, Array]:
    logits_CV = soft_cap(product("cd,vd->cv", hidden, table), cap)
    top_C = logits_CV.max(1)
    exp_CV = jnp.exp(logits_CV - top_C[:, None])
    sum_C = exp_CV.sum(1)
    own_C = _at(logits_CV, targets)
    mean_CD = product("cv,vd->cd", through_cap(exp_CV, logits_CV, cap).astype(table.dtype), table) / sum_C[:, None]
    pull_CD = mean_CD - through_cap(table[targets], own_C[:, None], cap)
    return jnp.log(sum_C) + top_C - own_C, _is_first(own_C, top_C), pull_CD.astype(hidden.dtype)


def _is_first(own: Array, top: Array) -> Array:
    return (own >= top).astype(jnp.float32)


def _at(logits: Float[Array, "*shape vocab"], targets: Int[Array, "*shape"]) -> Float[Array, "*shape"]:
    return jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]


def _in_chunks(
    of_chunk: Callable[[Array, Array, Array], Any], hidden: Array, table: Array, targets: Array, needed: Array
) -> Any:
    """`of_chunk` over all needed positions, chunk by chunk; zeros elsewhere."""
    positions = hidden.shape[0]
    size = min(positions, max(64, CHUNK_LOGITS // table.shape[0] // 64 * 64))
    # Needed positions first, so that whole chunks of padding and prompt fall away.
    order_N = jnp.argsort(~needed, stable=True)
    chunks = -(-positions // size)
    rows = jnp.pad(order_N, (0, chunks * size - positions)).reshape(chunks, size)
    counts = jnp.clip(needed.sum() - jnp.arange(chunks) * size, 0, size)

    def run(carry: None, chunk: tuple[Array, Array]) -> tuple[None, Any]:
        rows_C, count = chunk
        inputs = hidden[rows_C], table, targets[rows_C]
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(of_chunk, *inputs))
        return carry, jax.lax.cond(count > 0, lambda: of_chunk(*inputs), lambda: nothing)

    _, stacked = jax.lax.scan(run, None, (rows, counts))

    def put_back(leaf: Array) -> Array:
        flat = leaf.reshape(chunks * size, *leaf.shape[2:])[:positions]
        back = jnp.zeros_like(flat).at[order_N].set(flat, unique_indices=True)
        return jnp.where(needed.reshape(-1, *[1] * (back.ndim - 1)), back, jnp.zeros((), back.dtype))

    return jax.tree.map(put_back, stacked)


@partial(jax.custom_vjp, nondiff_argnums=(7,))
def trained_head_scores(
    hidden: Float[Array, "batch tokens hidden"],
    table: Float[Array, "vocab hidden"],
    tie: Tie | None,
    tokens: Int[Array, "batch tokens"],
    targets: Int[Array, "batch tokens"],
    needed: Bool[Array, "batch tokens"],
    probe: Probe,
    cap: float | None,
) -> TokenScores:
    """The same with the table trained; `tie` comes from the embedding when both share the table, else None."""
    return _trained_forward(hidden, table, tie, tokens, targets, needed, probe, cap)[0]


def _trained_forward(
    hidden: Array,
    table: Array,
    tie: Tie | None,
    tokens: Array,
    targets: Array,
    needed: Array,
    probe: Probe,
    cap: float | None,
) -> tuple[TokenScores, Any]:
    logits_BTV = soft_cap(product("btd,vd->btv", hidden, table.astype(hidden.dtype)), cap)
    lse_BT, own_BT = jax.nn.logsumexp(logits_BTV, axis=-1), _at(logits_BTV, targets)
    scores = TokenScores(
        nll=jnp.where(needed, lse_BT - own_BT, 0.0),
        hits=jnp.where(needed, _is_first(own_BT, logits_BTV.max(-1)), 0.0),
    )
    # A comparison with iota fuses into the pass over the logits; the gradient of take_along_axis would scatter.
    is_target_BTV = targets[..., None] == jnp.arange(table.shape[0])
    # The one array as wide as the vocabulary that waits for the backward pass: a gradient without token factors.
    pull_BTV = through_cap(jnp.exp(logits_BTV - lse_BT[..., None]) - is_target_BTV, logits_BTV, cap)
    tied_tokens = None if tie is None else tokens
    return scores, (hidden, table, pull_BTV.astype(hidden.dtype), tied_tokens, needed, probe)


def _trained_backward(
    cap: float | None, saved: Any, g: TokenScores
) -> tuple[Array, Array, Tie | None, None, None, None, Probe]:
    hidden, table, pull_BTV, tied_tokens, needed, probe = saved
    g_BT1 = jnp.where(needed, g.nll, 0.0)[..., None].astype(hidden.dtype)
    # Each token's factor goes to the narrow side of every product.
    d_table, squared_norms = dense_gradient(pull_BTV, hidden * g_BT1, probe)
    d_hidden = jnp.einsum("btv,vd->btd", pull_BTV, table.astype(hidden.dtype)) * g_BT1
    d_tie = None if tied_tokens is None else _looked_up_rows(pull_BTV, hidden * g_BT1, tied_tokens, probe)
    return d_hidden, d_table, d_tie, None, None, None, probe.cotangent(squared_norms)


def _looked_up_rows(pull_BTV: Array, hidden: Array, tokens: Array, probe: Probe) -> Tie:
    """Of each sample's own gradient of the table, the rows that its tokens look up in the embedding."""
    batch, length = tokens.shape
    columns = jnp.broadcast_to(tokens[:, None, :], (batch, length, length))
    picked_BST = probe.within_samples(jnp.take_along_axis(pull_BTV, columns, axis=2))
    return product("bst,bsd->btd", picked_BST, hidden)


trained_head_scores.defvjp(_trained_forward, _trained_backward)
