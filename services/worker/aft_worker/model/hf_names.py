"""The decoder's parameter paths and Hugging Face's tensor names, each way."""

import re
from dataclasses import dataclass, field
from types import MappingProxyType

from aft_worker.model.config import Block, DecoderConfig
from aft_worker.model.parameters import ParameterPath

_LEAVES = {"kernel": "weight", "rows": "weight", "scale": "weight", "bias": "bias"}


@dataclass(frozen=True, kw_only=True)
class TensorNames:
    """How a family calls its tensors."""

    root: str = "model"
    """What stands before all but the head."""
    modules: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Its names of the decoder's outermost modules, where they are not ours."""
    keeps_kernels: bool = False
    """Whether it keeps dense kernels as [in, out], as we do."""
    ignorable: str = r"rotary_emb\.inv_freq$"
    """Tensors that may go unread: old buffers, and the parts that see images."""
    prefixes: tuple[tuple[str, str], ...] = ()
    """(pattern, replacement): other spellings of a tensor's beginning, and the one that we read and write."""

    def tensor(self, path: ParameterPath, layer: int | None = None) -> str:
        """Hugging Face's name of the parameter, of one layer where it is stacked."""
        *modules, leaf = path
        outermost = self.modules.get(modules[0], modules[0])
        if is_stacked(path):
            outermost = f"{outermost}.{layer}"
        root = [] if outermost == "lm_head" else [self.root]
        return ".".join([*root, outermost, *modules[1:], _LEAVES[leaf]])

    def module(self, path: ParameterPath, layer: int) -> str:
        """Hugging Face's name of the stacked module that the parameter belongs to, of one layer."""
        return self.tensor((*path[:-1], "kernel"), layer).removesuffix(".weight")

    def is_transposed(self, path: ParameterPath) -> bool:
        """Whether Hugging Face keeps the parameter as [out, in] where we keep [in, out]."""
        return path[-1] == "kernel" and not self.keeps_kernels

    def read_as(self, name: str) -> str:
        """The name under which the tensor `name` of a file is looked for."""
        for pattern, replacement in self.prefixes:
            name = re.sub(pattern, replacement, name)
        return name

    def is_ignorable(self, name: str, *, tied_head: bool) -> bool:
        """Whether a tensor in a file makes no parameter; the copy of a tied table is only compared with it."""
        return bool(re.search(self.ignorable, name)) or (tied_head and name == "lm_head.weight")


_LLAMA = TensorNames()
_GPT2 = TensorNames(
    root="transformer",
    modules=MappingProxyType({"embed_tokens": "wte", "embed_positions": "wpe", "layers": "h", "norm": "ln_f"}),
    keeps_kernels=True,
    ignorable=r"\.attn\.(masked_)?bias$",
    # The first GPT-2 checkpoints were saved without the head around the transformer.
    prefixes=((r"^(?!transformer\.|lm_head\.)", "transformer."),),
)
_TEXT_PART = TensorNames(
    ignorable=r"^(model\.)?(vision_tower|multi_modal_projector)\.",
    prefixes=((r"^language_model\.(model\.)?|^model\.language_model\.", "model."), (r"^model\.lm_head\.", "lm_head.")),
)


def tensor_names(config: DecoderConfig) -> TensorNames:
    """The names that the family of `config` has."""
    if config.block is Block.GPT2:
        return _GPT2
    return _TEXT_PART if config.is_text_part else _LLAMA


def is_stacked(path: ParameterPath) -> bool:
    """Whether the parameter holds all layers, one after the other along its first axis."""
    return path[0] == "layers"
