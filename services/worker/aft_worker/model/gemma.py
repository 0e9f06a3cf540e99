"""The layer of Gemma 2 and 3."""

from flax import nnx
from jaxtyping import Array, Float

from aft_worker.model.attention import Attention
from aft_worker.model.config import DecoderConfig
from aft_worker.model.mlp import GatedMlp
from aft_worker.model.norms import make_norm
from aft_worker.model.probed.probe import Probe
from aft_worker.model.views import View


class SandwichLayer(nnx.Module):
    """x + norm(attention(norm(x))), then x + norm(mlp(norm(x))) (Gemma Team, 2024)."""

    def __init__(self, stack: tuple[int, ...], config: DecoderConfig, *, trained: bool) -> None:
        size = config.hidden_size
        self.input_layernorm = make_norm(stack, size, config, trained=trained)
        self.self_attn = Attention(stack, config, trained=trained)
        # Llama calls the norm before the MLP so; here it stands behind the attention.
        self.post_attention_layernorm = make_norm(stack, size, config, trained=trained)
        self.pre_feedforward_layernorm = make_norm(stack, size, config, trained=trained)
        self.mlp = GatedMlp(stack, config, trained=trained)
        self.post_feedforward_layernorm = make_norm(stack, size, config, trained=trained)

    def __call__(
        self, x: Float[Array, "batch tokens hidden"], view: View, probe: Probe | None
    ) -> Float[Array, "batch tokens hidden"]:
        mixed = self.self_attn(self.input_layernorm(x, probe), view.turn, view.mask, probe)
        x = x + self.post_attention_layernorm(mixed, probe)
        inner = self.mlp(self.pre_feedforward_layernorm(x, probe), probe)
        return x + self.post_feedforward_layernorm(inner, probe)
