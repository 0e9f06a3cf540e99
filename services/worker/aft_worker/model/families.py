"""What distinguishes the supported families, as data: one decoder runs them all."""

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from aft_worker.model import layer_kinds as kinds
from aft_worker.model.config import Block, NormKind

_COMMON: dict[str, Any] = {
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
_GEMMA: dict[str, Any] = {
    # Files of the multimodal checkpoints name only what differs from these.
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True, kw_only=True)
class Family:
    """Traits that config.json leaves unsaid, because transformers has them in code."""

    layer_kinds: kinds.ReadKinds = kinds.all_full
    """How the file says what each layer sees."""
    qkv_bias: bool = False
    """Whether q, k and v always have a bias."""
    takes_attention_bias: bool = True
    """Whether `attention_bias` puts a bias on the output projection too."""
    qk_norm: bool = False
    """Whether each head of q and k is normalised."""
    block: Block = Block.PRE_NORM
    norm: NormKind = NormKind.RMS
    activation_key: str = "hidden_act"
    """What the file calls the MLP's activation."""
    scales_embedding: bool = False
    """Whether the embedding is multiplied with the root of its size."""
    caps_attention: bool = False
    """Whether `attn_logit_softcapping` is obeyed. Gemma 3's code reads it and does nothing with it."""
    caps_logits: bool = False
    """Whether `final_logit_softcapping` is obeyed."""
    defaults: MappingProxyType[str, Any] = field(default_factory=lambda: MappingProxyType(_COMMON))
    """Values of config.json keys that are left out."""


def _defaults(**own: Any) -> MappingProxyType[str, Any]:
    return MappingProxyType(_COMMON | own)


FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "mistral": Family(
        layer_kinds=kinds.all_sliding,
        takes_attention_bias=False,
        defaults=_defaults(sliding_window=4096, num_key_value_heads=8),
    ),
    "qwen2": Family(
        layer_kinds=kinds.sliding_above,
        qkv_bias=True,
        takes_attention_bias=False,
        defaults=_defaults(num_key_value_heads=32, sliding_window=4096, max_window_layers=28),
    ),
    "qwen3": Family(
        layer_kinds=kinds.sliding_above,
        qk_norm=True,
        defaults=_defaults(num_key_value_heads=32, head_dim=128, sliding_window=4096, max_window_layers=28),
    ),
    "smollm3": Family(
        layer_kinds=kinds.partly_unturned,
        defaults=_defaults(num_key_value_heads=4, rope_theta=2e6, no_rope_layer_interval=4, tie_word_embeddings=True),
    ),
    "gemma2": Family(
        layer_kinds=kinds.alternating,
        block=Block.SANDWICH,
        norm=NormKind.RMS_AROUND_ONE,
        activation_key="hidden_activation",
        scales_embedding=True,
        caps_attention=True,
        caps_logits=True,
        defaults=_defaults(**_GEMMA, attn_logit_softcapping=50.0, final_logit_softcapping=30.0),
    ),
    "gemma3_text": Family(
        layer_kinds=kinds.mostly_sliding,
        block=Block.SANDWICH,
        norm=NormKind.RMS_AROUND_ONE,
        qk_norm=True,
        activation_key="hidden_activation",
        scales_embedding=True,
        caps_logits=True,
        defaults=_defaults(
            **_GEMMA, vocab_size=262208, rope_theta=1e6, rope_local_base_freq=1e4, sliding_window_pattern=6
        ),
    ),
    "gpt2": Family(
        layer_kinds=kinds.all_unturned,
        block=Block.GPT2,
        norm=NormKind.LAYER,
        defaults=MappingProxyType(
            {
                "activation_function": "gelu_new",
                "layer_norm_epsilon": 1e-5,
                "scale_attn_weights": True,
                "tie_word_embeddings": True,
            }
        ),
    ),
}
"""By `model_type`."""
