"""A trained model as a plain Hugging Face directory, its adapter merged into the weights."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from aft_contracts import ModelSpec
from aft_worker.export.directory import written_whole
from aft_worker.model.config_file import parse_config, read_raw, text_part
from aft_worker.model.errors import ModelConfigChanged
from aft_worker.model.hf_names import is_stacked, tensor_names
from aft_worker.model.load import LoadedModel, exact_frozen
from aft_worker.model.parameters import ParameterPath, Parameters, flat

COPIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
)
"""Files of the base model that the merged one keeps."""


def write_merged(model: LoadedModel, trainable: Parameters, spec: ModelSpec, out_dir: Path) -> Path:
    """Write config, weights in float32 and tokenizer to `out_dir`, which must not exist; bytes are deterministic.

    Raises:
        ModelConfigChanged, BaseWeightsChanged: the base model's files are no longer those that were loaded.
    """
    base_dir = Path(spec.path)
    with written_whole(out_dir) as unfinished:
        (unfinished / "config.json").write_text(_config_in_float32(base_dir, model))
        save_file(merged_tensors(model, trainable), unfinished / "model.safetensors", metadata={"format": "pt"})
        for name in COPIED:
            if (base_dir / name).is_file():
                shutil.copyfile(base_dir / name, unfinished / name)
    return out_dir


def merged_tensors(model: LoadedModel, trainable: Parameters) -> dict[str, np.ndarray]:
    """Every weight under Hugging Face's names: W + (alpha / rank) A B where there is an adapter."""
    trained = {path: np.asarray(variable.get_value()) for path, variable in flat(trainable)}
    values = exact_frozen(model) | trained
    names = tensor_names(model.config)
    tensors: dict[str, np.ndarray] = {}
    for path, value in values.items():
        if path[-1] in ("lora_a", "lora_b"):
            continue
        if not is_stacked(path):
            tensors[names.tensor(path)] = value
            continue
        for layer in range(value.shape[0]):
            matrix = value[layer] + _adapter_product(model, values, path, layer)
            tensors[names.tensor(path, layer)] = np.ascontiguousarray(matrix.T if names.is_transposed(path) else matrix)
    return tensors


def _adapter_product(
    model: LoadedModel, values: dict[ParameterPath, np.ndarray], path: ParameterPath, layer: int
) -> np.ndarray | float:
    lora_a, lora_b = (values.get((*path[:-1], leaf)) for leaf in ("lora_a", "lora_b"))
    if model.lora is None or path[-1] != "kernel" or lora_a is None or lora_b is None:
        return 0.0
    product: np.ndarray = np.float32(model.lora.alpha / model.lora.rank) * (lora_a[layer] @ lora_b[layer])
    return product


def _config_in_float32(base_dir: Path, model: LoadedModel) -> str:
    raw = read_raw(base_dir)
    _refuse_other(raw, base_dir, model)
    config = dict(text_part(raw))
    if model.config.is_text_part:
        # What is written has no part that sees images any more.
        config["architectures"] = ["Gemma3ForCausalLM"]
    config.pop("torch_dtype", None)
    return json.dumps(config | {"dtype": "float32"}, indent=2) + "\n"


def _refuse_other(raw: Mapping[str, Any], base_dir: Path, model: LoadedModel) -> None:
    # The merged weights are those of the model that was trained: under another config they would be another model.
    if changed := parse_config(raw).changed_since(model.config.facts):
        raise ModelConfigChanged(
            f"{base_dir / 'config.json'} is no longer what the run was loaded with ({', '.join(changed)}); "
            "restore the model's files.",
            path=str(base_dir),
        )
