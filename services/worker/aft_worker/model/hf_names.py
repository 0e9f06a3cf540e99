"""The decoder's parameter paths and Hugging Face's tensor names, each way."""

import re

from aft_worker.model.parameters import ParameterPath

_LEAVES = {"kernel": "weight", "rows": "weight", "scale": "weight", "bias": "bias"}


def is_stacked(path: ParameterPath) -> bool:
    """Whether the parameter holds all layers, one after the other along its first axis."""
    return path[0] == "layers"


def is_transposed(path: ParameterPath) -> bool:
    """Whether Hugging Face keeps it as [out, in] where we keep [in, out]."""
    return path[-1] == "kernel"


def tensor_name(path: ParameterPath, layer: int | None = None) -> str:
    """Hugging Face's name of the parameter, of one layer where it is stacked."""
    *modules, leaf = path
    if is_stacked(path):
        modules = ["layers", str(layer), *modules[1:]]
    root = [] if modules[0] == "lm_head" else ["model"]
    return ".".join([*root, *modules, _LEAVES[leaf]])


def is_ignorable(name: str, *, tied_head: bool) -> bool:
    """Whether a tensor in a file may go unread: old rotary buffers, and the copy of a tied table."""
    return bool(re.search(r"rotary_emb\.inv_freq$", name)) or (tied_head and name == "lm_head.weight")
