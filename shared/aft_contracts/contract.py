"""The base of every contract: frozen, closed to unknown fields, safe to write as JSON."""

import hashlib
import json
import math
from typing import Annotated, Any

from pydantic import AllowInfNan, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationInfo


class Contract(BaseModel):
    """A frozen value that both services speak; an unknown field is an error, not a surprise, and so is a number that
    is not finite, but for those that are `Measured`."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, protected_namespaces=()
    )


def digest_of(contract: Contract) -> str:
    """Sha256 of the contract's canonical JSON, in hex; equal contracts have equal digests."""
    canonical = json.dumps(contract.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _number_or_word(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _word_to_number(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str):
        return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(value, value)
    if info.mode == "json" and isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"JSON has no number {value}; send it as a string")
    return value


Measured = Annotated[
    float,
    AllowInfNan(True),
    BeforeValidator(_word_to_number),
    PlainSerializer(_number_or_word, when_used="json"),
]
"""A float from training that may be NaN or infinite; JSON has no word for those, so they travel as strings."""
