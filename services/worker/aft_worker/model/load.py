"""LoadedModel: a decoder with its weights on the mesh, trained and frozen ones apart."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array

from aft_contracts import ComputeType, LoraSpec, Remat
from aft_worker.model.config import DecoderConfig
from aft_worker.model.config_file import read_config
from aft_worker.model.decoder import Decoder
from aft_worker.model.errors import BaseWeightsChanged, ModelFileMissing, TiedHeadDiffers, WeightMismatch
from aft_worker.model.frozen_digest import FrozenDigest
from aft_worker.model.hf_names import TensorNames, is_stacked, tensor_names
from aft_worker.model.layers import LowRank
from aft_worker.model.lora import add_adapters, first_value
from aft_worker.model.mesh import parameter_sharding
from aft_worker.model.parameters import ParameterPath, Parameters, flat, with_values
from aft_worker.model.weight_files import WeightFiles

_ROWS_AT_ONCE = 256
"""How much of two tables is held while they are compared."""


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """What `nnx.merge(graphdef, trainable, frozen)` puts together again; `frozen` is empty in full fine-tuning."""

    model_dir: Path
    config: DecoderConfig
    lora: LoraSpec | None
    graphdef: nnx.GraphDef[Decoder]
    trainable: Parameters
    frozen: Parameters
    frozen_digest: FrozenDigest
    """Fingerprint of `frozen`, under way since the model was loaded."""


def load_model(
    path: Path,
    *,
    lora: LoraSpec | None,
    seed: int,
    mesh: Mesh,
    compute: ComputeType = ComputeType.FLOAT32,
    remat: Remat = Remat.SELECTIVE,
) -> LoadedModel:
    """The model in the Hugging Face directory `path`, with fresh adapters where `lora` asks for them.

    Trained parameters are float32, frozen ones of the type that layers compute in.

    Raises:
        ModelFileMissing, UnknownModelFamily, InvalidModelConfig, WeightMismatch, TiedHeadDiffers: what is wrong with
            the directory.
        UnknownLoraTarget: `lora` names a layer that is not there.
    """
    if not path.is_dir():
        raise ModelFileMissing(path, "it is the model's directory")
    config = read_config(path)
    graphdef, trainable, frozen = _empty(
        lambda: Decoder(config, trained=lora is None, compute=compute, remat=remat), lora
    )
    names = tensor_names(config)
    files = WeightFiles(path, names.read_as)
    _refuse_unread(files, names, config, [*flat(trainable), *flat(frozen)])
    _refuse_other_head(files, names, config, path)

    def value(path: ParameterPath, variable: nnx.Variable[Any]) -> Array:
        shape = variable.shape
        first = first_value(path, shape, seed) if isinstance(variable, LowRank) else _read(path, shape, files, names)
        placed: Array = jax.device_put(first, parameter_sharding(mesh, shape))
        return placed

    def frozen_value(path: ParameterPath, variable: nnx.Variable[Any]) -> Array:
        return value(path, variable).astype(compute.value)

    frozen = with_values(frozen, frozen_value)
    return LoadedModel(
        model_dir=path,
        config=config,
        lora=lora,
        graphdef=graphdef,
        trainable=with_values(trainable, value),
        frozen=frozen,
        frozen_digest=FrozenDigest(frozen),
    )


def exact_frozen(model: LoadedModel) -> dict[ParameterPath, np.ndarray]:
    """The frozen parameters in float32, as the model's files have them: in memory they may have been rounded.

    Raises:
        BaseWeightsChanged: rounded, what the files have is no longer what was loaded.
    """
    values = {path: np.asarray(variable.get_value()) for path, variable in flat(model.frozen)}
    if all(value.dtype == np.float32 for value in values.values()):
        return values
    names = tensor_names(model.config)
    files = WeightFiles(model.model_dir, names.read_as)
    return {path: _exact(path, rounded, model.model_dir, files, names) for path, rounded in values.items()}


def _exact(
    path: ParameterPath, rounded: np.ndarray, model_dir: Path, files: WeightFiles, names: TensorNames
) -> np.ndarray:
    value = _read(path, rounded.shape, files, names)
    if not _rounds_to(value, rounded):
        raise BaseWeightsChanged(
            f"The weights ({'/'.join(path)}) in {model_dir} are no longer those that the run was loaded with; "
            "restore the model's files.",
            path=str(model_dir),
        )
    return value


def _rounds_to(value: np.ndarray, rounded: np.ndarray) -> bool:
    """Whether rounding `value` gives `rounded`, bit for bit but for NaN, which each chip spells its own way."""
    with np.errstate(invalid="ignore"):  # a signaling NaN
        again = value.astype(rounded.dtype)
    bits = f"u{again.itemsize}"
    unlike = again.view(bits) != rounded.view(bits)
    return bool(np.isnan(again[unlike]).all() and np.isnan(rounded[unlike]).all())


def _empty(
    decoder: Callable[[], Decoder], lora: LoraSpec | None
) -> tuple[nnx.GraphDef[Decoder], Parameters, Parameters]:
    """The decoder's structure and its parameters' shapes, without memory behind them."""

    def build() -> Decoder:
        built = decoder()
        if lora is not None:
            add_adapters(built, lora)
        return built

    trained = nnx.Param if lora is None else LowRank
    graphdef, trainable, *rest = nnx.split(nnx.eval_shape(build), trained, ...)
    return graphdef, trainable, rest[0]


def _read(path: ParameterPath, shape: tuple[int, ...], files: WeightFiles, names: TensorNames) -> np.ndarray:
    if not is_stacked(path):
        return files.read(names.tensor(path), shape)
    value = np.empty(shape, np.float32)
    transposed = names.is_transposed(path)
    file_shape = shape[:0:-1] if transposed else shape[1:]
    for layer in range(shape[0]):
        tensor = files.read(names.tensor(path, layer), file_shape)
        value[layer] = tensor.T if transposed else tensor
    return value


def _refuse_other_head(files: WeightFiles, names: TensorNames, config: DecoderConfig, model_dir: Path) -> None:
    # Many a tied model is saved with a copy. A head that was trained apart is not one, and would go unread.
    head, embedding = names.tensor(("lm_head", "rows")), names.tensor(("embed_tokens", "rows"))
    if not config.tied_head or head not in files.names:
        return
    shape = (config.vocab_size, config.hidden_size)
    for start in range(0, config.vocab_size, _ROWS_AT_ONCE):
        rows = slice(start, min(start + _ROWS_AT_ONCE, config.vocab_size))
        if not np.array_equal(files.read(head, shape, rows), files.read(embedding, shape, rows), equal_nan=True):
            raise TiedHeadDiffers(head, embedding, model_dir)


def _refuse_unread(
    files: WeightFiles,
    names: TensorNames,
    config: DecoderConfig,
    parameters: list[tuple[ParameterPath, nnx.Variable[Any]]],
) -> None:
    # A tensor that nobody reads, a bias for example, would make a silently different model.
    read = set()
    for path, variable in parameters:
        if not isinstance(variable, LowRank):
            layers = range(config.layers) if is_stacked(path) else [None]
            read |= {names.tensor(path, layer) for layer in layers}
    for name in sorted(files.names - read):
        if not names.is_ignorable(name, tied_head=config.tied_head):
            raise WeightMismatch(name, "in the file", f"no such weight for model_type {config.model_type}")
