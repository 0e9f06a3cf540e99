"""The base of every contract: frozen, closed to unknown fields, safe to write as JSON."""

import hashlib
import json
import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, GetCoreSchemaHandler, GetPydanticSchema, PlainSerializer
from pydantic_core.core_schema import (
    CoreSchema,
    custom_error_schema,
    float_schema,
    json_or_python_schema,
    literal_schema,
    no_info_after_validator_function,
    union_schema,
)


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


_WHOLE_BELOW = 2**63


def _of_64_bits(value: int) -> int:
    if not -_WHOLE_BELOW <= value < _WHOLE_BELOW:
        raise ValueError("no store keeps an integer of more than 64 bits; send a smaller one")
    return value


Whole = Annotated[int, AfterValidator(_of_64_bits)]
"""An integer that people write, and that a store can keep."""


def _number_or_word(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _measured_schema(_source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
    # All in pydantic's core but for the words: a window has hundreds of these, and nearly all are finite.
    word = no_info_after_validator_function(_WORDS.__getitem__, literal_schema(list(_WORDS)))
    finite_or_word = union_schema([float_schema(allow_inf_nan=False), word], mode="left_to_right")
    return json_or_python_schema(
        json_schema=custom_error_schema(
            finite_or_word,
            custom_error_type="measured",
            custom_error_message="JSON has no number that is not finite; send it as the string "
            + " or ".join(f'"{name}"' for name in _WORDS),
        ),
        python_schema=union_schema([float_schema(allow_inf_nan=True), word], mode="left_to_right"),
    )


Measured = Annotated[float, GetPydanticSchema(_measured_schema), PlainSerializer(_number_or_word, when_used="json")]
"""A float from training that may be NaN or infinite; JSON has no word for those, so they travel as strings."""
