"""The gated MLP of Llama and Gemma, and GPT-2's plain one."""

from flax import nnx
from jaxtyping import Array, Float

from aft_worker.model.activations import ACTIVATIONS
from aft_worker.model.config import DecoderConfig
from aft_worker.model.layers import Dense
from aft_worker.model.probed.probe import Probe


class GatedMlp(nnx.Module):
    """(activation(x gate) * (x up)) down (Shazeer, 2020)."""

    def __init__(self, stack: tuple[int, ...], config: DecoderConfig, *, trained: bool) -> None:
        self.activation = config.activation
        size, inner = config.hidden_size, config.inner_size
        self.gate_proj = Dense(stack, size, inner, bias=config.mlp_bias, trained=trained)
        self.up_proj = Dense(stack, size, inner, bias=config.mlp_bias, trained=trained)
        self.down_proj = Dense(stack, inner, size, bias=config.mlp_bias, trained=trained)

    def __call__(
        self, x: Float[Array, "batch tokens hidden"], probe: Probe | None
    ) -> Float[Array, "batch tokens hidden"]:
        gate = ACTIVATIONS[self.activation](self.gate_proj(x, probe))
        return self.down_proj(gate * self.up_proj(x, probe), probe)


class PlainMlp(nnx.Module):
    """activation(x c_fc) c_proj, under GPT-2's names."""

    def __init__(self, stack: tuple[int, ...], config: DecoderConfig, *, trained: bool) -> None:
        self.activation = config.activation
        size, inner = config.hidden_size, config.inner_size
        self.c_fc = Dense(stack, size, inner, bias=config.mlp_bias, trained=trained)
        self.c_proj = Dense(stack, inner, size, bias=config.mlp_bias, trained=trained)

    def __call__(
        self, x: Float[Array, "batch tokens hidden"], probe: Probe | None
    ) -> Float[Array, "batch tokens hidden"]:
        return self.c_proj(ACTIVATIONS[self.activation](self.c_fc(x, probe)), probe)
