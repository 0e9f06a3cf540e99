"""Reading model directories, whole and broken."""

import json
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from aft_contracts import LoraSpec
from aft_worker.model.errors import (
    InvalidModelConfig,
    ModelFileMissing,
    TextTooLong,
    TiedHeadDiffers,
    UnknownLoraTarget,
    UnknownModelFamily,
    WeightMismatch,
)
from aft_worker.model.load import LoadedModel, load_model
from aft_worker.model.mesh import make_mesh
from examples.tiny_model import write_tiny_model


def load(model_dir: Path, lora: LoraSpec | None = None, seed: int = 0) -> LoadedModel:
    return load_model(model_dir, lora=lora, seed=seed, mesh=make_mesh())


def change_config(model_dir: Path, **changes: object) -> None:
    path = model_dir / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "model")


def test_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileMissing, match="nowhere does not exist"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file_is_named(model_dir: Path, name: str) -> None:
    (model_dir / name).unlink()
    with pytest.raises(ModelFileMissing, match=name) as caught:
        load(model_dir)
    assert caught.value.problem.status == 422
    assert caught.value.problem.code == "model_file_missing"


def test_unknown_family_is_refused_with_the_known_ones(model_dir: Path) -> None:
    change_config(model_dir, model_type="mamba")
    with pytest.raises(UnknownModelFamily, match="'mamba'; supported are llama, mistral, qwen2, qwen3"):
        load(model_dir)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": None}, "hidden_size = None; expected a whole number"),
        ({"num_key_value_heads": 3}, "num_key_value_heads = 3; expected a divisor of 4"),
        ({"hidden_act": "mish"}, "hidden_act = 'mish'; expected one of silu, swish, gelu"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rope_type = 'yarn'"),
    ],
)
def test_config_that_cannot_be_run_is_refused(model_dir: Path, changes: dict[str, object], message: str) -> None:
    change_config(model_dir, **changes)
    with pytest.raises(InvalidModelConfig, match=message):
        load(model_dir)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 300}, r"embed_tokens.weight is of shape \[264, 32\]; config.json calls for shape \[300, 32\]"),
        ({"num_hidden_layers": 3}, r"model.layers.2.\S+ is absent"),
        ({"num_hidden_layers": 1}, r"model.layers.1.\S+ is in the file"),
        ({"tie_word_embeddings": False}, "lm_head.weight is absent"),
        ({"model_type": "qwen2"}, "bias is absent"),
    ],
)
def test_weights_that_do_not_fit_the_config_are_refused(model_dir: Path, changes: dict, message: str) -> None:
    change_config(model_dir, **changes)
    with pytest.raises(WeightMismatch, match=message):
        load(model_dir)


def test_weight_that_nobody_reads_is_refused(tmp_path: Path) -> None:
    model_dir = write_tiny_model(tmp_path / "model", model_type="qwen2")
    change_config(model_dir, model_type="llama")
    with pytest.raises(WeightMismatch, match=r"bias is in the file; config.json calls for no such weight"):
        load(model_dir)


def add_head(model_dir: Path, dtype: type, change: float = 0.0) -> None:
    """Give a tied model a head, in a shard of its own: its embedding with the last number changed."""
    path = model_dir / "model.safetensors"
    weights = {name: value.astype(dtype) for name, value in load_file(path).items()}
    (embedding,) = (value for name, value in weights.items() if name.endswith(("embed_tokens.weight", "wte.weight")))
    head = embedding.copy()
    head[-1, -1] += dtype(change)
    shards = {"body.safetensors": weights, "head.safetensors": {"lm_head.weight": head}}
    for shard, tensors in shards.items():
        save_file(tensors, model_dir / shard)
    weight_map = {name: shard for shard, tensors in shards.items() for name in tensors}
    (model_dir / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    path.unlink()


@pytest.mark.parametrize("model_type", ["llama", "gpt2"])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_head_that_is_the_embedding_over_again_may_lie_beside_it(tmp_path: Path, model_type: str, dtype: type) -> None:
    model_dir = write_tiny_model(tmp_path / "model", model_type=model_type)
    add_head(model_dir, dtype)
    assert "lm_head" not in load(model_dir).trainable


@pytest.mark.parametrize("lora", [None, LoraSpec(rank=4)])
@pytest.mark.parametrize(("model_type", "embedding"), [("llama", "model.embed_tokens"), ("gpt2", "transformer.wte")])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_head_unlike_the_embedding_that_it_is_tied_to_is_refused(
    tmp_path: Path, model_type: str, embedding: str, dtype: type, lora: LoraSpec | None
) -> None:
    model_dir = write_tiny_model(tmp_path / "model", model_type=model_type)
    add_head(model_dir, dtype, change=0.5)
    message = (
        rf"lm_head\.weight in .*/model is not the same as {embedding}\.weight.*; "
        r"set tie_word_embeddings to false in config\.json to .*, or remove lm_head\.weight"
    )
    with pytest.raises(TiedHeadDiffers, match=message) as caught:
        load(model_dir, lora)
    assert (caught.value.problem.status, caught.value.problem.code) == (422, "tied_head_differs")
    change_config(model_dir, tie_word_embeddings=False)
    assert load(model_dir, lora).config.tied_head is False


def test_tied_head_of_another_shape_is_refused(model_dir: Path) -> None:
    path = model_dir / "model.safetensors"
    save_file(load_file(path) | {"lm_head.weight": np.zeros((300, 32), np.float32)}, path)
    with pytest.raises(
        WeightMismatch, match=r"lm_head.weight is of shape \[300, 32\]; config.json calls for shape \[264"
    ):
        load(model_dir)


def test_truncated_weights_are_refused(model_dir: Path) -> None:
    path = model_dir / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightMismatch, match="not readable"):
        load(model_dir)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_shards_of_half_precision_read_like_one_float32_file(tmp_path: Path, model_dir: Path, dtype: type) -> None:
    whole = load_file(model_dir / "model.safetensors")
    rounded = {name: value.astype(dtype) for name, value in whole.items()}
    save_file({name: value.astype(np.float32) for name, value in rounded.items()}, model_dir / "model.safetensors")
    expected = load(model_dir).trainable

    (model_dir / "model.safetensors").unlink()
    shards = {"a.safetensors": sorted(rounded)[::2], "b.safetensors": sorted(rounded)[1::2]}
    for shard, names in shards.items():
        save_file({name: rounded[name] for name in names}, model_dir / shard)
    weight_map = {name: shard for shard, names in shards.items() for name in names}
    (model_dir / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    jax.tree.map(np.testing.assert_array_equal, load(model_dir).trainable, expected)

    (model_dir / "b.safetensors").unlink()
    with pytest.raises(ModelFileMissing, match=r"b\.safetensors"):
        load(model_dir)


def test_adapters_are_all_that_is_trained(model_dir: Path) -> None:
    model = load(model_dir, LoraSpec(rank=4))
    shapes = {"/".join(path): variable.shape for path, variable in nnx.to_flat_state(model.trainable)}
    assert len(shapes) == 14
    assert shapes["layers/self_attn/k_proj/lora_a"] == (2, 32, 4)
    assert shapes["layers/self_attn/k_proj/lora_b"] == (2, 4, 16)
    assert {path[-1] for path, _ in nnx.to_flat_state(model.frozen)} == {"kernel", "rows", "scale"}


def test_full_fine_tuning_freezes_nothing(model_dir: Path) -> None:
    assert not nnx.to_flat_state(load(model_dir).frozen)


def test_fresh_adapter_starts_at_zero_and_from_its_own_seed(model_dir: Path) -> None:
    wide = load(model_dir, LoraSpec(rank=4)).trainable["layers"]["self_attn"]["q_proj"]
    narrow = load(model_dir, LoraSpec(rank=4, targets=("q_proj",))).trainable["layers"]["self_attn"]["q_proj"]
    other = load(model_dir, LoraSpec(rank=4), seed=1).trainable["layers"]["self_attn"]["q_proj"]
    first = np.asarray(wide["lora_a"].get_value())
    assert not np.asarray(wide["lora_b"].get_value()).any()
    assert 0.9 < np.abs(first).max() * np.sqrt(32) <= 1.0
    np.testing.assert_array_equal(first, narrow["lora_a"].get_value())
    assert (first != np.asarray(other["lora_a"].get_value())).all()


def test_unknown_target_is_refused_with_the_known_ones(model_dir: Path) -> None:
    with pytest.raises(UnknownLoraTarget, match=r"targets c_attn are no dense layers of this model; it has .*q_proj"):
        load(model_dir, LoraSpec(targets=("q_proj", "c_attn")))


def test_first_gpt2_checkpoints_are_read(tmp_path: Path) -> None:
    model_dir = write_tiny_model(tmp_path / "model", model_type="gpt2")
    expected = load(model_dir).trainable
    path = model_dir / "model.safetensors"
    # They have no prefix, and keep their masks beside the weights.
    bare = {name.removeprefix("transformer."): value for name, value in load_file(path).items()}
    buffers = {"h.0.attn.bias": np.ones((1, 1, 8, 8), np.float32), "h.1.attn.masked_bias": np.float32([-1e4])}
    save_file(bare | buffers, path)
    jax.tree.map(np.testing.assert_array_equal, load(model_dir).trainable, expected)


def test_adapters_go_to_every_layer_of_a_name(tmp_path: Path) -> None:
    model_dir = write_tiny_model(tmp_path / "model", model_type="gpt2")
    model = load(model_dir, LoraSpec(rank=2, targets=("c_proj",)))
    shapes = {"/".join(path): variable.shape for path, variable in nnx.to_flat_state(model.trainable)}
    assert shapes == {
        "layers/attn/c_proj/lora_a": (2, 32, 2),
        "layers/attn/c_proj/lora_b": (2, 2, 32),
        "layers/mlp/c_proj/lora_a": (2, 64, 2),
        "layers/mlp/c_proj/lora_b": (2, 2, 32),
    }


def test_text_beyond_the_learned_positions_is_refused(tmp_path: Path) -> None:
    model = load(write_tiny_model(tmp_path / "model", model_type="gpt2", n_positions=8))
    decoder = nnx.merge(model.graphdef, model.trainable, model.frozen)
    assert decoder.logits(np.zeros((1, 8), np.int32)).shape == (1, 8, 264)
    with pytest.raises(TextTooLong, match=r"cut to 9 tokens, but the model has 8 learned positions"):
        decoder.logits(np.zeros((1, 9), np.int32))
