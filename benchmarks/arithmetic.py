"""How much arithmetic a training step is, whatever program does it."""

import math

from aft_worker.model.load import LoadedModel
from aft_worker.model.parameters import flat


def lora_step_flop(model: LoadedModel, *, batch_size: int, length: int) -> int:
    """Floating-point operations that one LoRA step over full rows cannot do without; a multiply-add is two.

    With N = batch_size * length tokens, of which S = batch_size * (length - 1) are scored:
        frozen matrices     2 N w forward, 2 N w for the gradient at their inputs, none for their own; w weights in all
        head                the same with S positions and vocabulary * hidden weights
        adapters            6 N a: forward, gradient at the inputs, gradient of the a weights themselves
        attention           2 products forward and 4 back over the length * (length + 1) / 2 pairs that a row's causal
                            mask leaves, each 2 * heads * head_dim a pair and layer
    Norms, rotations, softmax, the optimizer and whatever a program computes twice are not counted.
    """
    config = model.config
    tokens, scored = batch_size * length, batch_size * (length - 1)
    dense = sum(math.prod(leaf.shape) for path, leaf in flat(model.frozen) if path[-1] == "kernel")
    adapters = sum(math.prod(leaf.shape) for _, leaf in flat(model.trainable))
    head = config.vocab_size * config.hidden_size
    pairs = batch_size * length * (length + 1) // 2
    attention = 6 * 2 * config.heads * config.head_dim * pairs * config.layers
    return 4 * tokens * dense + 4 * scored * head + 6 * tokens * adapters + attention
