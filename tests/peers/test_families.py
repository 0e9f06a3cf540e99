"""Random tiny models of every family against transformers, live."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the peers extra is not installed (make peers)")
pytest.importorskip("transformers", reason="the peers extra is not installed (make peers)")

from aft_worker.model.families import FAMILIES
from tests.peers import random_models
from tests.peers.ours import load, logits_of

pytestmark = pytest.mark.peers
SEEDS = range(6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", random_models.FAMILIES)
def test_logits_are_those_of_transformers(tmp_path: Path, family: str, seed: int) -> None:
    peer = random_models.write_model(random_models.draw_config(family, seed), tmp_path, seed=seed)
    tokens = random_models.draw_tokens(seed)
    ours, theirs = logits_of(load(tmp_path), tokens), random_models.logits_of_peer(peer, tokens)
    assert np.abs(ours - theirs).max() <= 1e-4
    # A model that says the same everywhere would agree with anything.
    assert theirs.std() > 0.1


def test_every_family_is_drawn() -> None:
    assert random_models.FAMILIES.keys() == FAMILIES.keys()
