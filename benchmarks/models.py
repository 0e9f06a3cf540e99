"""The decoders that benchmarks train: two small Llamas of realistic proportions, and SmolLM2-135M."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from examples.smollm2.convert import convert
from examples.tiny_model import write_tiny_model

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "benchmarks"
"""Where benchmarks keep what they make once."""

Shape = Mapping[str, Any]
"""What replaces the tiny model's config.json, plus `vocab`."""

_D576: Shape = {
    "vocab": 8192,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 4,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 2048,
}

SHAPES: Mapping[str, Shape] = {
    "tiny": {"vocab": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
    "d256": {
        "vocab": 8192,
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": 2048,
    },
    "d576": _D576,
    "d576-200mb": {**_D576, "vocab": 4288},
}
"""`d576` has the layers of SmolLM2-135M, four of its thirty, and a smaller vocabulary;
`d576-200mb` has so small a one that its train state takes 200 MB; `tiny` is for smoke tests."""


def model_dir(name: str) -> Path:
    """A model's directory in Hugging Face format, made when it is first asked for; `smollm2` or one of `SHAPES`.

    Raises:
        KeyError: there is no model of that name.
    """
    if name == "smollm2":
        return convert()
    shape = dict(SHAPES[name])
    # The shape is part of the folder's name, so that a changed one does not find the old weights.
    folder = CACHE / "models" / f"{name}-{_fingerprint(shape):08x}"
    if not (folder / "chat_template.jinja").exists():
        write_tiny_model(folder, **shape)
    return folder


def _fingerprint(shape: Shape) -> int:
    """A number that is the same for the same shape in every process."""
    return zlib.crc32(json.dumps(shape, sort_keys=True).encode())
