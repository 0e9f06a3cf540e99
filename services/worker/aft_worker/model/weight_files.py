"""WeightFiles: the tensors of a Hugging Face directory, read one at a time as float32."""

import json
from collections.abc import Callable
from pathlib import Path

# Imported for its effect: it teaches numpy, and through it safetensors, the name bfloat16.
import ml_dtypes  # noqa: F401
import numpy as np
from safetensors import SafetensorError, safe_open

from aft_worker.model.errors import ModelFileMissing, WeightMismatch

_FLOATS = ("float32", "float16", "bfloat16")


class WeightFiles:
    """One model.safetensors, or the shards that model.safetensors.index.json names. Pickled weights are not read.

    `read_as` gives the name by which a tensor of the files is asked for.
    """

    def __init__(self, model_dir: Path, read_as: Callable[[str], str] = str) -> None:
        self._file_of = {
            read_as(name): (file, name)
            for path in _paths(model_dir)
            for file in [_open(path)]
            for name in file.keys()  # noqa: SIM118
        }

    @property
    def names(self) -> frozenset[str]:
        """Every tensor, by the name that it is asked for."""
        return frozenset(self._file_of)

    def read(self, name: str, shape: tuple[int, ...], rows: slice | None = None) -> np.ndarray:
        """The tensor, which has `shape`, as float32; of it only `rows` where they are given.

        Raises:
            WeightMismatch: it is absent, of another shape, or not a floating-point tensor.
        """
        if name not in self._file_of:
            raise WeightMismatch(name, "absent", f"shape {list(shape)}")
        file, name_in_file = self._file_of[name]
        part = file.get_slice(name_in_file)
        if tuple(part.get_shape()) != shape:
            raise WeightMismatch(name, f"of shape {part.get_shape()}", f"shape {list(shape)}")
        tensor: np.ndarray = file.get_tensor(name_in_file) if rows is None else part[rows]
        if tensor.dtype.name not in _FLOATS:
            raise WeightMismatch(name, f"of type {tensor.dtype.name}", f"one of {', '.join(_FLOATS)}")
        if tensor.dtype.name == "bfloat16":
            # The upper half of a float32; ml_dtypes' own conversion takes three times as long.
            return (tensor.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        return tensor.astype(np.float32)


def _paths(model_dir: Path) -> list[Path]:
    single, index = model_dir / "model.safetensors", model_dir / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        raise ModelFileMissing(single, "it holds the weights (pickled .bin files are not read: convert to safetensors)")
    names = _shards_in(index)
    for name in names:
        if Path(name).name != name:  # a folder of weights must not name files elsewhere
            raise WeightMismatch(name, f"a path, in {index.name}", "the name of a file beside it")
    shards = [model_dir / name for name in names]
    for shard in shards:
        if not shard.is_file():
            raise ModelFileMissing(shard, f"{index.name} names it as a shard of the weights")
    return shards


def _shards_in(index: Path) -> list[str]:
    expected = "an object whose weight_map names a file for each tensor"
    try:
        named = json.loads(index.read_text())["weight_map"]
        if isinstance(named, dict) and named and all(isinstance(name, str) for name in named.values()):
            return sorted(set(named.values()))
    except (ValueError, LookupError, TypeError, RecursionError) as broken:
        raise WeightMismatch(index.name, f"not readable ({type(broken).__name__})", expected) from broken
    raise WeightMismatch(index.name, "of another form", expected)


def _open(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="numpy")
    except SafetensorError as broken:
        raise WeightMismatch(path.name, f"not readable ({broken})", "a whole safetensors file") from broken
