"""A trained adapter as PEFT reads it: adapter_config.json and adapter_model.safetensors."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from aft_contracts import LoraSpec, ModelSpec
from aft_worker.export.directory import written_whole
from aft_worker.export.errors import NothingToExport
from aft_worker.model.config import DecoderConfig
from aft_worker.model.hf_names import tensor_names
from aft_worker.model.load import LoadedModel
from aft_worker.model.parameters import Parameters, flat

IN_MULTIMODAL = "model.language_model."
"""Where the language model's `model.` stands in a model that also sees images."""

_SUFFIX = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight"}


def write_adapter(model: LoadedModel, trainable: Parameters, spec: ModelSpec, out_dir: Path) -> Path:
    """Write the adapter in `trainable` to `out_dir`, which must not exist; equal weights give equal bytes.

    Raises:
        NothingToExport: the run trains every parameter, so there is no adapter.
    """
    if model.lora is None:
        raise NothingToExport("The run trains every parameter and has no adapter; export a merged directory instead.")
    with written_whole(out_dir) as unfinished:
        save_file(
            adapter_tensors(model.config, trainable),
            unfinished / "adapter_model.safetensors",
            metadata={"format": "pt"},
        )
        config = adapter_config(model.config, model.lora, adapted_layers(trainable), spec.path)
        (unfinished / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return out_dir


def adapter_tensors(config: DecoderConfig, trainable: Parameters) -> dict[str, np.ndarray]:
    """Every layer's A [rank, in] and B [out, rank] under PEFT's names."""
    names = tensor_names(config)
    tensors = {}
    for path, variable in flat(trainable):
        for layer, matrix in enumerate(np.asarray(variable.get_value())):
            module = names.module(path, layer)
            if config.is_text_part:
                module = module.replace("model.", IN_MULTIMODAL, 1)
            tensors[f"base_model.model.{module}.{_SUFFIX[path[-1]]}"] = np.ascontiguousarray(matrix.T)
    return tensors


def adapted_layers(trainable: Parameters) -> list[str]:
    """Names of the dense layers that have an adapter, in alphabetical order."""
    return sorted({path[-2] for path, _ in flat(trainable)})


def adapter_config(config: DecoderConfig, lora: LoraSpec, layer_names: list[str], base_model: str) -> dict[str, object]:
    """What PEFT needs to know to put the adapter in its place."""
    target_modules: object = layer_names
    if config.is_text_part:
        # The vision tower has layers of the same names, so a pattern has to tell them apart.
        target_modules = rf".*\blanguage_model\..*\.({'|'.join(layer_names)})"
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "target_modules": target_modules,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": tensor_names(config).keeps_kernels,
        "inference_mode": True,
    }
