"""config.json and tensor shapes of tiny models, family by family."""

from typing import Any

Shapes = dict[str, tuple[int, ...]]

_COMMON: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "tie_word_embeddings": True}
_ROTARY: dict[str, Any] = _COMMON | {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
}
_GEMMA: dict[str, Any] = _ROTARY | {
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "sliding_window": 6,
    "layer_types": ["sliding_attention", "full_attention"],
    "hidden_activation": "gelu_pytorch_tanh",
}
_GPT2: dict[str, Any] = _COMMON | {
    "n_embd": 32,
    "n_inner": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 256,
    "layer_norm_epsilon": 1e-5,
    "activation_function": "gelu_new",
}
_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", _ROTARY),
    "mistral": ("MistralForCausalLM", _ROTARY),
    "qwen2": ("Qwen2ForCausalLM", _ROTARY),
    "qwen3": ("Qwen3ForCausalLM", _ROTARY),
    "smollm3": ("SmolLM3ForCausalLM", _ROTARY),
    "gemma2": ("Gemma2ForCausalLM", _GEMMA),
    "gemma3_text": ("Gemma3ForCausalLM", _GEMMA),
    "gpt2": ("GPT2LMHeadModel", _GPT2),
}


def tiny_config(model_type: str) -> dict[str, Any]:
    """The config.json of a tiny model of the family, but for `vocab_size`."""
    architecture, settings = _CONFIGS[model_type]
    return {"architectures": [architecture], "model_type": model_type, **settings}


def tensor_shapes(config: dict[str, Any]) -> Shapes:
    """Every weight that the model of `config` has, by Hugging Face's name."""
    return _gpt2_shapes(config) if config["model_type"] == "gpt2" else _rotary_shapes(config)


def norm_mean(model_type: str) -> float:
    """What the scales of norms scatter around: Gemma adds the one itself."""
    return 0.0 if model_type.startswith("gemma") else 1.0


def _rotary_shapes(config: dict[str, Any]) -> Shapes:
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head_dim = config.get("head_dim") or hidden // config["num_attention_heads"]
    q_dim, kv_dim = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    shapes: Shapes = {"model.embed_tokens.weight": (vocab, hidden), "model.norm.weight": (hidden,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocab, hidden)
    norms = ["input_layernorm", "post_attention_layernorm"]
    if config["model_type"].startswith("gemma"):
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        for projection, rows in {"q_proj": q_dim, "k_proj": kv_dim, "v_proj": kv_dim}.items():
            shapes[f"{prefix}.self_attn.{projection}.weight"] = (rows, hidden)
            if config["model_type"] == "qwen2":
                shapes[f"{prefix}.self_attn.{projection}.bias"] = (rows,)
        if config["model_type"] in ("qwen3", "gemma3_text"):
            shapes[f"{prefix}.self_attn.q_norm.weight"] = (head_dim,)
            shapes[f"{prefix}.self_attn.k_norm.weight"] = (head_dim,)
        shapes |= {
            f"{prefix}.self_attn.o_proj.weight": (hidden, q_dim),
            f"{prefix}.mlp.gate_proj.weight": (inner, hidden),
            f"{prefix}.mlp.up_proj.weight": (inner, hidden),
            f"{prefix}.mlp.down_proj.weight": (hidden, inner),
            **{f"{prefix}.{norm}.weight": (hidden,) for norm in norms},
        }
    return shapes


def _gpt2_shapes(config: dict[str, Any]) -> Shapes:
    hidden, inner, vocab = config["n_embd"], config["n_inner"], config["vocab_size"]
    shapes: Shapes = {
        "transformer.wte.weight": (vocab, hidden),
        "transformer.wpe.weight": (config["n_positions"], hidden),
        "transformer.ln_f.weight": (hidden,),
        "transformer.ln_f.bias": (hidden,),
    }
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocab, hidden)
    dense = {
        "attn.c_attn": (hidden, 3 * hidden),
        "attn.c_proj": (hidden, hidden),
        "mlp.c_fc": (hidden, inner),
        "mlp.c_proj": (inner, hidden),
    }
    for layer in range(config["n_layer"]):
        prefix = f"transformer.h.{layer}"
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"{prefix}.{norm}.weight": (hidden,), f"{prefix}.{norm}.bias": (hidden,)}
        for name, (d_in, d_out) in dense.items():
            shapes |= {f"{prefix}.{name}.weight": (d_in, d_out), f"{prefix}.{name}.bias": (d_out,)}
    return shapes
