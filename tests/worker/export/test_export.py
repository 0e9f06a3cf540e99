"""Exports against PEFT's own files and logits, and against the model that was exported."""

import json
import re
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from aft_contracts import ComputeType, LoraSpec, ModelSpec
from aft_worker.export.adapter import write_adapter
from aft_worker.export.errors import ExportExists, NothingToExport
from aft_worker.export.merged import write_merged
from aft_worker.model.errors import BaseWeightsChanged, ModelConfigChanged, ModelFileMissing
from aft_worker.model.load import LoadedModel, load_model
from aft_worker.model.mesh import make_mesh
from examples.tiny_model import write_tiny_model

REFERENCES = Path(__file__).parents[2] / "fixtures" / "references"
LORA = LoraSpec(rank=4, alpha=12.0)


def load(model_dir: Path, lora: LoraSpec | None, compute: ComputeType = ComputeType.FLOAT32) -> LoadedModel:
    return load_model(model_dir, lora=lora, seed=0, mesh=make_mesh(), compute=compute)


def logits_of(model: LoadedModel, tokens: np.ndarray) -> np.ndarray:
    def run(trainable: nnx.State, frozen: nnx.State) -> jax.Array:
        return nnx.merge(model.graphdef, trainable, frozen).logits(tokens)

    return np.asarray(jax.jit(run)(model.trainable, model.frozen))


def with_peft_adapter(model: LoadedModel, adapter_dir: Path) -> LoadedModel:
    """The model with the adapter that PEFT wrote, read by the names in PEFT's file."""
    tensors = load_file(adapter_dir / "adapter_model.safetensors")

    def value(path: tuple[str, ...]) -> jax.Array:
        _, *modules, leaf = path
        kind = {"lora_a": "lora_A", "lora_b": "lora_B"}[leaf]
        names = [f"base_model.model.model.layers.{i}.{'.'.join(modules)}.{kind}.weight" for i in range(2)]
        return jax.numpy.stack([tensors[name].T for name in names])

    flat = nnx.to_flat_state(model.trainable)
    return replace(
        model, trainable=nnx.from_flat_state([(path, variable.replace(value(path))) for path, variable in flat])
    )


@pytest.fixture
def adapted() -> LoadedModel:
    return with_peft_adapter(load(REFERENCES / "llama_tied", LORA), REFERENCES / "llama_tied_peft")


def test_adapted_logits_are_those_of_peft(adapted: LoadedModel) -> None:
    reference = np.load(REFERENCES / "llama_tied_peft" / "reference.npz")
    np.testing.assert_allclose(logits_of(adapted, reference["tokens"]), reference["logits"], atol=1e-4)


def test_adapter_file_equals_the_one_that_peft_wrote(adapted: LoadedModel, tmp_path: Path) -> None:
    spec = ModelSpec(path=str(REFERENCES / "llama_tied"), lora=LORA)
    out_dir = write_adapter(adapted, adapted.trainable, spec, tmp_path / "adapter")
    ours = load_file(out_dir / "adapter_model.safetensors")
    theirs = load_file(REFERENCES / "llama_tied_peft" / "adapter_model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value)
    config = json.loads((out_dir / "adapter_config.json").read_text())
    peft_config = json.loads((REFERENCES / "llama_tied_peft" / "adapter_config.json").read_text())
    assert {key: config[key] for key in ("peft_type", "task_type", "r", "lora_alpha", "bias", "fan_in_fan_out")} == {
        key: peft_config[key] for key in ("peft_type", "task_type", "r", "lora_alpha", "bias", "fan_in_fan_out")
    }
    # PEFT spells every layer out; by name is the same set.
    assert config["target_modules"] == sorted({name.split(".")[-1] for name in peft_config["target_modules"]})


def test_merged_directory_reloads_to_the_same_logits(adapted: LoadedModel, tmp_path: Path) -> None:
    reference = np.load(REFERENCES / "llama_tied_peft" / "reference.npz")
    spec = ModelSpec(path=str(REFERENCES / "llama_tied"), lora=LORA)
    merged = load(write_merged(adapted, adapted.trainable, spec, tmp_path / "merged"), None)
    np.testing.assert_allclose(logits_of(merged, reference["tokens"]), reference["logits"], atol=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"tie_word_embeddings": False, "model_type": "qwen2"},
        {"model_type": "gemma3_text"},
        {"model_type": "gpt2", "tie_word_embeddings": False},
    ],
)
def test_full_export_is_a_whole_model_directory(tmp_path: Path, config: dict[str, object]) -> None:
    base = write_tiny_model(tmp_path / "base", **config)
    model = load(base, None)
    out_dir = write_merged(model, model.trainable, ModelSpec(path=str(base), lora=None), tmp_path / "merged")
    assert sorted(path.name for path in out_dir.iterdir()) == sorted(path.name for path in base.iterdir())
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (out_dir / name).read_bytes() == (base / name).read_bytes()
    ours, theirs = load_file(out_dir / "model.safetensors"), load_file(base / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value)


def test_adapter_of_gpt2_has_its_names_and_its_way_round(tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base", model_type="gpt2")
    lora = LoraSpec(rank=3, targets=("c_attn", "c_proj"))
    model = load(base, lora)
    out_dir = write_adapter(model, model.trainable, ModelSpec(path=str(base), lora=lora), tmp_path / "adapter")
    shapes = {name: value.shape for name, value in load_file(out_dir / "adapter_model.safetensors").items()}
    prefix = "base_model.model.transformer.h.1"
    assert len(shapes) == 12
    assert shapes[f"{prefix}.attn.c_attn.lora_B.weight"] == (96, 3)
    assert shapes[f"{prefix}.attn.c_proj.lora_A.weight"] == (3, 32)
    assert shapes[f"{prefix}.mlp.c_proj.lora_A.weight"] == (3, 64)
    config = json.loads((out_dir / "adapter_config.json").read_text())
    assert (config["fan_in_fan_out"], config["target_modules"]) == (True, ["c_attn", "c_proj"])


def test_text_part_of_a_multimodal_model_becomes_a_text_model(tmp_path: Path) -> None:
    base = REFERENCES / "gemma3_multimodal"
    model, spec = load(base, None), ModelSpec(path=str(base), lora=None)
    out_dir = write_merged(model, model.trainable, spec, tmp_path / "merged")
    config = json.loads((out_dir / "config.json").read_text())
    assert (config["model_type"], config["architectures"]) == ("gemma3_text", ["Gemma3ForCausalLM"])
    reference = np.load(base / "reference.npz")
    np.testing.assert_allclose(logits_of(load(out_dir, None), reference["tokens"]), reference["logits"], atol=1e-4)


def test_adapter_of_a_multimodal_model_keeps_off_what_sees_images(tmp_path: Path) -> None:
    base, lora = REFERENCES / "gemma3_multimodal", LoraSpec(rank=2, targets=("q_proj", "up_proj"))
    model = load(base, lora)
    out_dir = write_adapter(model, model.trainable, ModelSpec(path=str(base), lora=lora), tmp_path / "adapter")
    names = load_file(out_dir / "adapter_model.safetensors").keys()
    assert "base_model.model.model.language_model.layers.1.mlp.up_proj.lora_A.weight" in names
    targets = json.loads((out_dir / "adapter_config.json").read_text())["target_modules"]
    assert re.fullmatch(targets, "model.language_model.layers.1.self_attn.q_proj")
    assert not re.fullmatch(targets, "model.language_model.layers.1.self_attn.k_proj")
    assert not re.fullmatch(targets, "model.vision_tower.encoder.layers.0.self_attn.q_proj")


def test_same_weights_give_the_same_bytes(adapted: LoadedModel, tmp_path: Path) -> None:
    spec = ModelSpec(path=str(REFERENCES / "llama_tied"), lora=LORA)
    for write in (write_adapter, write_merged):
        first, second = (write(adapted, adapted.trainable, spec, tmp_path / f"{write.__name__}{i}") for i in range(2))
        for path in first.iterdir():
            assert path.read_bytes() == (second / path.name).read_bytes()


def test_nothing_is_overwritten(adapted: LoadedModel, tmp_path: Path) -> None:
    spec = ModelSpec(path=str(REFERENCES / "llama_tied"), lora=LORA)
    (tmp_path / "there").mkdir()
    with pytest.raises(ExportExists, match="there already exists"):
        write_adapter(adapted, adapted.trainable, spec, tmp_path / "there")


def test_failed_export_leaves_nothing_behind(adapted: LoadedModel, tmp_path: Path) -> None:
    spec = ModelSpec(path=str(tmp_path / "no-such-base"), lora=LORA)
    with pytest.raises(ModelFileMissing):
        write_merged(adapted, adapted.trainable, spec, tmp_path / "merged")
    assert not list(tmp_path.iterdir())


def test_full_fine_tuning_has_no_adapter(tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base")
    model = load(base, None)
    with pytest.raises(NothingToExport):
        write_adapter(model, model.trainable, ModelSpec(path=str(base), lora=None), tmp_path / "adapter")


def test_merged_weights_are_not_rounded_where_layers_compute_in_bfloat16(adapted: LoadedModel, tmp_path: Path) -> None:
    exact, coarse = adapted, load(REFERENCES / "llama_tied", LORA, compute=ComputeType.BFLOAT16)
    spec = ModelSpec(path=str(REFERENCES / "llama_tied"), lora=LORA)
    written = [
        load_file(write_merged(model, adapted.trainable, spec, tmp_path / name) / "model.safetensors")
        for name, model in {"exact": exact, "coarse": coarse}.items()
    ]
    assert written[0].keys() == written[1].keys()
    for name, tensor in written[0].items():
        np.testing.assert_array_equal(written[1][name], tensor)
        assert written[1][name].dtype == np.float32


def test_merged_weights_rest_on_what_was_trained_on_or_are_not_written(tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base")
    model, spec = load(base, LORA, compute=ComputeType.BFLOAT16), ModelSpec(path=str(base), lora=LORA)
    weights = load_file(base / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][-1, -1] += 0.5
    save_file(weights, base / "model.safetensors")
    message = r"layers/mlp/up_proj/kernel\) .*/base are no longer those .*; restore the model's files"
    with pytest.raises(BaseWeightsChanged, match=message) as caught:
        write_merged(model, model.trainable, spec, tmp_path / "merged")
    assert (caught.value.problem.status, caught.value.problem.code) == (409, "base_weights_changed")
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
    write_tiny_model(base)
    assert write_merged(model, model.trainable, spec, tmp_path / "merged").is_dir()


def test_weights_that_are_no_numbers_are_the_same_as_before(tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    quiet, signaling = np.array([0x7FC00000, 0xFF800001], np.uint32).view(np.float32)
    weights["model.embed_tokens.weight"][7], weights["model.embed_tokens.weight"][8] = quiet, signaling
    save_file(weights, base / "model.safetensors")
    model, spec = load(base, LORA, compute=ComputeType.BFLOAT16), ModelSpec(path=str(base), lora=LORA)
    merged = load_file(write_merged(model, model.trainable, spec, tmp_path / "merged") / "model.safetensors")
    np.testing.assert_array_equal(merged["model.embed_tokens.weight"], weights["model.embed_tokens.weight"])


@pytest.mark.parametrize("lora", [None, LORA])
def test_merged_model_has_the_config_that_it_was_trained_with_or_is_not_written(
    tmp_path: Path, lora: LoraSpec | None
) -> None:
    base = write_tiny_model(tmp_path / "base")
    model, spec = load(base, lora), ModelSpec(path=str(base), lora=lora)
    path = base / "config.json"
    as_it_was = json.loads(path.read_text())
    path.write_text(json.dumps({**as_it_was, "rms_norm_eps": 0.25, "rope_theta": 7.0}))
    message = r"base/config\.json .* \(norm_eps, layer_kinds\); restore the model's files"
    with pytest.raises(ModelConfigChanged, match=message) as caught:
        write_merged(model, model.trainable, spec, tmp_path / "merged")
    assert (caught.value.problem.status, caught.value.problem.code) == (409, "model_config_changed")
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
    path.write_text(json.dumps({**as_it_was, "transformers_version": "9"}, indent=4))
    assert write_merged(model, model.trainable, spec, tmp_path / "merged").is_dir()
