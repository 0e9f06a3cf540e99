"""What aft exports, opened by PEFT and transformers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the peers extra is not installed (make peers)")
transformers = pytest.importorskip("transformers", reason="the peers extra is not installed (make peers)")
peft = pytest.importorskip("peft", reason="the peers extra is not installed (make peers)")

from aft_contracts import LoraSpec, ModelSpec
from aft_worker.export.adapter import write_adapter
from aft_worker.export.merged import write_merged
from aft_worker.model.load import LoadedModel
from tests.peers.ours import load, logits_of
from tests.peers.random_models import draw_config, draw_tokens, logits_of_peer, write_model

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),  # PEFT's own
]
MODELS = ["llama", "qwen3", "gemma2", "gemma3_text", "gemma3", "gpt2"]
TARGETS: dict[str, tuple[str, ...]] = {"llama": ("q_proj", "down_proj"), "gpt2": ("c_proj", "c_attn")}
"""Where not every layer has an adapter."""


@pytest.fixture(params=MODELS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def base_dir(tmp_path: Path, family: str) -> Path:
    """A random base model of the family."""
    config = multimodal_config() if family == "gemma3" else draw_config(family, 1)
    write_model(config, tmp_path / "base")
    return tmp_path / "base"


def multimodal_config() -> Any:
    """A tiny Gemma 3 that could also see images."""
    sight = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    return transformers.Gemma3Config(
        text_config=draw_config("gemma3_text", 0).to_dict() | {"vocab_size": 96, "final_logit_softcapping": None},
        vision_config={"model_type": "siglip_vision_model", "image_size": 28, "patch_size": 14, **sight},
        mm_tokens_per_image=4,
        boi_token_index=93,
        eoi_token_index=94,
        image_token_index=95,
    )


def moved(model: LoadedModel) -> LoadedModel:
    """The model after training that went somewhere."""
    draw = np.random.default_rng(0)
    trained = jax.tree.map(
        lambda leaf: leaf + np.asarray(0.2 * draw.normal(size=leaf.shape), np.float32), model.trainable
    )
    return replace(model, trainable=trained)


def opened(model_dir: Path) -> Any:
    """The model as transformers opens it."""
    return transformers.AutoModelForCausalLM.from_pretrained(
        model_dir, attn_implementation="eager", dtype=torch.float32
    ).eval()


def test_adapter_gives_the_same_logits_in_peft(base_dir: Path, family: str, tmp_path: Path) -> None:
    lora, tokens = LoraSpec(rank=3, alpha=5.0, targets=TARGETS.get(family, "all-linear")), draw_tokens()
    model = moved(load(base_dir, lora))
    spec = ModelSpec(path=str(base_dir), lora=lora)
    out_dir = write_adapter(model, model.trainable, spec, tmp_path / "adapter")
    base = opened(base_dir)
    before = logits_of_peer(base, tokens)
    adapted = peft.PeftModel.from_pretrained(base, out_dir).eval()
    assert np.abs(logits_of_peer(adapted, tokens) - logits_of(model, tokens)).max() <= 1e-4
    assert np.abs(logits_of(model, tokens) - before).max() > 0.1


def test_adapter_leaves_no_matrix_of_peft_untouched(base_dir: Path, family: str, tmp_path: Path) -> None:
    model = moved(load(base_dir, LoraSpec(rank=3)))
    spec = ModelSpec(path=str(base_dir), lora=model.lora)
    out_dir = write_adapter(model, model.trainable, spec, tmp_path / "adapter")
    adapted = peft.PeftModel.from_pretrained(opened(base_dir), out_dir)
    matrices = {name: value for name, value in adapted.named_parameters() if "lora_" in name}
    assert len(matrices) == sum(leaf.shape[0] for leaf in jax.tree.leaves(model.trainable))
    assert all(value.abs().max() > 0 for value in matrices.values())


@pytest.mark.parametrize("lora", [None, LoraSpec(rank=3, alpha=5.0)])
def test_merged_directory_gives_the_same_logits_in_transformers(
    base_dir: Path, tmp_path: Path, lora: LoraSpec | None
) -> None:
    model, tokens = moved(load(base_dir, lora)), draw_tokens()
    spec = ModelSpec(path=str(base_dir), lora=lora)
    merged = opened(write_merged(model, model.trainable, spec, tmp_path / "merged"))
    assert np.abs(logits_of_peer(merged, tokens) - logits_of(model, tokens)).max() <= 1e-4
    assert not [name for name, _ in merged.named_parameters() if "vision" in name]
