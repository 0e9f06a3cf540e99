"""What distinguishes the supported families, as data: one decoder runs them all."""

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

_COMMON: dict[str, Any] = {
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}


@dataclass(frozen=True, kw_only=True)
class Family:
    """Traits that config.json leaves unsaid, because transformers has them in code."""

    qkv_bias: bool = False
    """Whether q, k and v always have a bias."""
    takes_attention_bias: bool = True
    """Whether `attention_bias` puts a bias on the output projection too."""
    qk_norm: bool = False
    """Whether each head of q and k is RMS-normalised."""
    has_window: bool = False
    """Whether `sliding_window` limits every layer."""
    window_needs_switch: bool = False
    """Whether `sliding_window` only counts with `use_sliding_window`."""
    defaults: MappingProxyType[str, Any] = field(default_factory=lambda: MappingProxyType(_COMMON))
    """Values of config.json keys that are left out."""


def _defaults(**own: Any) -> MappingProxyType[str, Any]:
    return MappingProxyType(_COMMON | own)


FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "mistral": Family(
        takes_attention_bias=False, has_window=True, defaults=_defaults(sliding_window=4096, num_key_value_heads=8)
    ),
    "qwen2": Family(
        qkv_bias=True,
        takes_attention_bias=False,
        window_needs_switch=True,
        defaults=_defaults(num_key_value_heads=32),
    ),
    "qwen3": Family(qk_norm=True, window_needs_switch=True, defaults=_defaults(num_key_value_heads=32, head_dim=128)),
}
