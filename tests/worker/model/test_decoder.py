"""The decoder against transformers' logits, family by family."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from aft_worker.model.config_file import MULTIMODAL
from aft_worker.model.families import FAMILIES
from aft_worker.model.load import load_model
from aft_worker.model.mesh import make_mesh

REFERENCES = Path(__file__).parents[2] / "fixtures" / "references"
SMOLLM2 = Path(__file__).parents[3] / ".cache" / "smollm2-135m-instruct"
CASES = sorted(path.parent.name for path in REFERENCES.glob("*/config.json"))


def logits_of(model_dir: Path, tokens: np.ndarray) -> np.ndarray:
    model = load_model(model_dir, lora=None, seed=0, mesh=make_mesh())

    def run(trainable: nnx.State, frozen: nnx.State) -> jax.Array:
        return nnx.merge(model.graphdef, trainable, frozen).logits(tokens)

    return np.asarray(jax.jit(run)(model.trainable, model.frozen))


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_transformers(case: str) -> None:
    reference = np.load(REFERENCES / case / "reference.npz")
    np.testing.assert_allclose(logits_of(REFERENCES / case, reference["tokens"]), reference["logits"], atol=1e-4)


def test_every_family_has_a_reference() -> None:
    types = {json.loads((REFERENCES / case / "config.json").read_text())["model_type"] for case in CASES}
    assert types == {*FAMILIES, MULTIMODAL}


@pytest.mark.slow
@pytest.mark.skipif(not (SMOLLM2 / "config.json").exists(), reason="python -m examples.smollm2.convert makes the model")
def test_real_weights_give_the_logits_of_transformers() -> None:
    reference = np.load(REFERENCES / "smollm2.npz")
    logits = logits_of(SMOLLM2, reference["tokens"])[0]
    np.testing.assert_allclose(
        np.take_along_axis(logits, reference["top_ids"], axis=1), reference["top_logits"], atol=1e-4
    )
    np.testing.assert_allclose(np.log(np.exp(logits.astype(np.float64)).sum(1)), reference["logsumexp"], atol=1e-4)
    np.testing.assert_array_equal(logits.argmax(1), reference["top_ids"][:, 0])
