"""The frozen weights' digest: theirs alone, and taken beside everything else."""

import gc
import weakref
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from aft_contracts import ComputeType, LoraSpec
from aft_worker.model.frozen_digest import FrozenDigest
from aft_worker.model.load import LoadedModel, load_model
from aft_worker.model.mesh import make_mesh
from aft_worker.model.parameters import flat, with_values
from examples.tiny_model import write_tiny_model

LORA = LoraSpec(rank=2)


def load(
    model_dir: Path, lora: LoraSpec | None = LORA, seed: int = 0, compute: ComputeType = ComputeType.FLOAT32
) -> LoadedModel:
    return load_model(model_dir, lora=lora, seed=seed, mesh=make_mesh(), compute=compute)


def digest_of(model: LoadedModel) -> str | None:
    """The model is held until its digest is there: of weights that nobody holds there is none."""
    return model.frozen_digest.result()


def test_the_same_weights_have_the_same_digest_whatever_is_trained(tiny_model_dir: Path) -> None:
    other_adapters = load(tiny_model_dir, LoraSpec(rank=4, targets=("v_proj",)), seed=1)
    assert digest_of(load(tiny_model_dir)) == digest_of(other_adapters)


def test_every_value_and_its_type_count(tiny_model_dir: Path, tmp_path: Path) -> None:
    model = load(tiny_model_dir)
    names = [path for path, _ in flat(model.frozen)]
    assert len(names) > 5

    def with_one_changed(name: tuple[str, ...]) -> str | None:
        changed = with_values(
            model.frozen,
            lambda path, variable: variable.get_value().at[..., -1].add(1e-6 if path == name else 0.0),
        )
        return FrozenDigest(changed).result()

    digests = [*map(with_one_changed, names), digest_of(model)]
    digests.append(digest_of(load(tiny_model_dir, compute=ComputeType.BFLOAT16)))
    digests.append(digest_of(load(write_tiny_model(tmp_path, num_hidden_layers=1, seed=1))))
    assert len({*digests, None}) == len(names) + 4


def test_where_everything_is_trained_there_is_none(tiny_model_dir: Path) -> None:
    assert digest_of(load(tiny_model_dir, lora=None)) is None


def test_a_failure_reaches_whoever_waits(tiny_model_dir: Path) -> None:
    lost = jax.tree.map(jnp.copy, load(tiny_model_dir).frozen)
    jax.tree.map(lambda leaf: leaf.delete(), lost)
    digest = FrozenDigest(lost)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="deleted"):
            digest.result()


def test_the_weights_are_not_held_for_it(tiny_model_dir: Path) -> None:
    model = load(tiny_model_dir)
    digest = model.frozen_digest
    digest.result()
    held = [weakref.ref(leaf) for leaf in jax.tree.leaves(model.frozen)]
    del model
    gc.collect()
    assert [leaf() for leaf in held] == [None] * len(held)
