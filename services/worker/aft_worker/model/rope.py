"""Rotary position embedding (Su et al., 2021), with linear and Llama 3.1 scaling."""

# B lines of the batch, T tokens, P pairs (half the head dimension)

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from aft_worker.model.config import Rope

Rotation = tuple[Float[Array, "#batch tokens pairs"], Float[Array, "#batch tokens pairs"]]
"""Cosine and sine of every position's angles."""


def rotation(rope: Rope, head_dim: int, positions: Int[Array, "#batch tokens"]) -> Rotation:
    """The rotation of each position."""
    angles_BTP = positions[:, :, None].astype(jnp.float32) * jnp.asarray(frequencies(rope, head_dim))
    return jnp.cos(angles_BTP), jnp.sin(angles_BTP)


def frequencies(rope: Rope, head_dim: int) -> np.ndarray:
    """Radians per position of each pair, float32."""
    # In float32 throughout, as transformers does: float64 would differ in the last bits at long range.
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    plain = (1.0 / np.float32(rope.theta) ** exponents).astype(np.float32)
    if rope.low_freq_factor is None or rope.high_freq_factor is None or rope.original_positions is None:
        return plain / np.float32(rope.factor)
    waves = 2 * math.pi / plain
    # 0 where the wave is so long that it is stretched, 1 where it is so short that it stays, between them a blend.
    blend = (rope.original_positions / waves - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    blend = np.clip(blend, 0.0, 1.0)
    return ((1.0 - blend) * plain / rope.factor + blend * plain).astype(np.float32)


def rotate(
    x: Float[Array, "batch tokens heads head_dim"], turn: Rotation
) -> Float[Array, "batch tokens heads head_dim"]:
    """`x` with element i and i + head_dim/2 of each head turned as one pair (Hugging Face's layout)."""
    cos_BT1P, sin_BT1P = turn[0][:, :, None, :], turn[1][:, :, None, :]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos_BT1P - second * sin_BT1P, second * cos_BT1P + first * sin_BT1P], axis=-1)
    return turned.astype(x.dtype)
