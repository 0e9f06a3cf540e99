"""GGUF tensors as a bfloat16 safetensors file under Hugging Face's names."""

import json
from pathlib import Path

import numpy as np
from gguf import GGUFReader, dequantize

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def write_weights(reader: GGUFReader, path: Path, heads: int, kv_heads: int) -> None:
    """Write every tensor of `reader` to `path`, dequantised and rounded to bfloat16."""
    row_groups = {"attn_q": heads, "attn_k": kv_heads}
    tensors = {}
    for tensor in reader.tensors:
        weight = np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)
        part = tensor.name.split(".")[-2]
        if part in row_groups:
            weight = _unpermute(weight, row_groups[part])
        tensors[_hf_name(tensor.name)] = _bfloat16_bits(weight)
    _write_bfloat16(dict(sorted(tensors.items())), path)


def _hf_name(gguf_name: str) -> str:
    *block, part, kind = gguf_name.split(".")
    layer = f"model.layers.{block[1]}." if block else ""
    return f"{layer}{NAMES[part]}.{kind}"


def _unpermute(weight: np.ndarray, heads: int) -> np.ndarray:
    # llama.cpp interleaves the two rotary halves of each head; Hugging Face keeps them one after the other.
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _bfloat16_bits(values: np.ndarray) -> np.ndarray:
    # numpy has no bfloat16: keep the upper 16 bits of float32, rounded to nearest even.
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _write_bfloat16(tensors: dict[str, np.ndarray], path: Path) -> None:
    # By hand because safetensors' numpy writer cannot call uint16 bits bfloat16: length, JSON header, bytes.
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, bits in tensors.items():
        start, end = end, end + bits.nbytes
        header[name] = {"dtype": "BF16", "shape": bits.shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for bits in tensors.values():
            file.write(bits.tobytes())
