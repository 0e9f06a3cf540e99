"""DecoderConfig: the sizes and switches of a decoder, in one form for every family."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from aft_worker.model.errors import TextTooLong


class Block(StrEnum):
    """How a layer is put together."""

    PRE_NORM = "pre_norm"
    """Llama: x + attention(norm(x)), then x + mlp(norm(x)), rotary positions and a gated MLP."""
    SANDWICH = "sandwich"
    """Gemma 2: the same with a norm behind attention and MLP too."""
    GPT2 = "gpt2"
    """GPT-2: LayerNorms, learned positions, one projection for q, k and v, a plain MLP."""


class NormKind(StrEnum):
    """How activations are normalised."""

    RMS = "rms"
    """x / rms(x) * scale."""
    RMS_AROUND_ONE = "rms_around_one"
    """x / rms(x) * (1 + scale)."""
    LAYER = "layer"
    """(x - mean) / deviation * scale + bias."""


@dataclass(frozen=True, kw_only=True)
class Rope:
    """Rotary position embedding: angle of pair i at position p is `p * theta ** (-2 i / head_dim)`, then scaled."""

    theta: float
    factor: float = 1.0
    """Positions are stretched by this factor; 1 leaves them."""
    low_freq_factor: float | None = None
    """With the next two: only long waves are stretched (Llama 3.1). None stretches all."""
    high_freq_factor: float | None = None
    original_positions: int | None = None


@dataclass(frozen=True, kw_only=True)
class LayerKind:
    """What one layer's attention sees."""

    window: int | None
    """Positions a token attends to, itself included; None for all before it."""
    rope: Rope | None
    """How queries and keys are turned; None leaves them."""


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Sizes and switches of a decoder."""

    model_type: str
    is_text_part: bool
    """Whether the model is the text part of a checkpoint that also sees images."""
    block: Block
    vocab_size: int
    hidden_size: int
    inner_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    norm: NormKind
    norm_eps: float
    activation: str
    """A name in `ACTIVATIONS`."""
    layer_kinds: tuple[LayerKind, ...]
    """One a layer."""
    positions: int | None
    """Rows of the table of learned positions, the longest text there can be; None without such a table."""
    embedding_scale: float
    """What the rows of the embedding are multiplied with."""
    query_scale: float
    """What the products of queries and keys are multiplied with."""
    attention_cap: float | None
    """`c` where these products become `c tanh(product / c)`; None leaves them."""
    logit_cap: float | None
    """The same for the next-token logits."""
    tied_head: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool
    """Whether each head of q and k is normalised."""

    @property
    def facts(self) -> dict[str, Any]:
        """The fields by name, as JSON has them."""
        return dict(json.loads(json.dumps(asdict(self))))

    def changed_since(self, facts: Mapping[str, Any]) -> list[str]:
        """Fields that `facts`, of this config or of one before it, has with another value."""
        return [name for name, now in self.facts.items() if facts.get(name, now) != now]

    def refuse_longer_than_positions(self, length: int) -> None:
        """Raises TextTooLong where texts of `length` tokens outrun the learned positions."""
        if self.positions is not None and length > self.positions:
            raise TextTooLong(length, self.positions)
