"""Per-sample figures and update of every kind of model, against vmap(grad) of each sample alone."""

from typing import Any

import pytest

from aft_contracts import LoraSpec, Remat
from aft_worker.model.probed.probe import gram_is_cheaper
from tests.worker.train.oracle import assert_blind_to_masked_tokens, assert_own_figures
from tests.worker.train.samples import CAPACITY, PACKED
from tests.worker.train.ways import LORA, Way

_NOTHING_KEPT: dict[str, Any] = {"parts": 2, "remat": Remat.FULL}
_GEMMA3 = {"model_type": "gemma3_text", "num_hidden_layers": 2, "sliding_window": 3, "final_logit_softcapping": 2.0}
_GPT2 = {"model_type": "gpt2", "n_positions": CAPACITY}
FAMILIES = {
    "full_biases": Way(config={"model_type": "qwen2"}),
    "full_biases_nothing_kept": Way(**_NOTHING_KEPT, config={"model_type": "qwen2"}),
    "lora_biases_nothing_kept": Way(**_NOTHING_KEPT, lora=LORA, config={"model_type": "qwen2"}),
    "full_head_norms": Way(parts=4, remat=Remat.NONE, config={"model_type": "qwen3", "head_dim": 16}),
    "full_window": Way(config={"model_type": "mistral", "sliding_window": 3}),
    "full_gram": Way(**_NOTHING_KEPT, config={"hidden_size": 96, "intermediate_size": 160}),
    "full_some_windows": Way(
        parts=2,
        remat=Remat.NONE,
        config={
            "model_type": "qwen2",
            "num_hidden_layers": 2,
            "use_sliding_window": True,
            "sliding_window": 3,
            "max_window_layers": 1,
        },
    ),
    "full_gemma3": Way(config=_GEMMA3),
    "full_gemma3_nothing_kept": Way(**_NOTHING_KEPT, config=_GEMMA3),
    "full_gpt2": Way(config=_GPT2),
    "full_gpt2_nothing_kept": Way(**_NOTHING_KEPT, config=_GPT2),
    "lora_dropout_gpt2_nothing_kept": Way(
        **_NOTHING_KEPT, lora=LoraSpec(rank=4, dropout=0.3, targets=("c_attn", "c_proj")), config=_GPT2
    ),
    "lora_dropout_everywhere": Way(parts=4, lora=LoraSpec(rank=4, dropout=0.3), config={"num_hidden_layers": 2}),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_samples_have_their_own_figures_packed_or_not(load_tiny, name: str) -> None:
    way = FAMILIES[name]
    assert_own_figures(load_tiny(**way.model), parts=way.parts)


@pytest.mark.parametrize("name", FAMILIES)
def test_tokens_of_a_masked_sample_change_no_bit(load_tiny, name: str) -> None:
    way = FAMILIES[name]
    assert_blind_to_masked_tokens(load_tiny(**way.model), parts=way.parts)


def test_both_forms_of_a_packed_dense_norm_are_covered() -> None:
    assert gram_is_cheaper(CAPACITY, 96, 160, packed=PACKED)
    assert not gram_is_cheaper(CAPACITY, 32, 16, packed=PACKED)
