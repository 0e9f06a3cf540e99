"""Values of single fields, checked; what is wrong with one is said without repeating it."""

import math
from typing import Any

MAX_WEIGHT = 3.4028234663852886e38
"""Largest float32: loss weights are float32, and a weight must reach the loss as it was given."""


class Unexpected(Exception):
    """What was found in a row, and what was expected."""

    def __init__(self, found: str, expected: str) -> None:
        self.found, self.expected = found, expected
        super().__init__(found, expected)


def text_of(key: str, value: Any) -> str:
    """The value as it is, if it is valid text."""
    if not isinstance(value, str):
        raise Unexpected(f"`{key}` that is {kind_of(value)}", f"`{key}` to be a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Unexpected(f"`{key}` with half of a surrogate pair", f"`{key}` to be valid Unicode") from error
    return value


def weight_of(key: str, value: Any) -> float:
    """A factor on the loss; 1 where the row says nothing."""
    expected = f"`{key}` to be a number from 0 to {MAX_WEIGHT:.4g}"
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unexpected(f"`{key}` that is {kind_of(value)}", expected)
    if not math.isfinite(value) or not 0 <= value <= MAX_WEIGHT:
        raise Unexpected(f"`{key}` {value}", expected)
    return float(value)


def own_id_of(key: str, value: Any) -> str | None:
    """The row's own id as text; None where it has none."""
    expected = f"`{key}` to be a string that is not empty, or a whole number"
    if value is None:
        return None
    # A column of whole numbers with gaps leaves some tools as floats.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise Unexpected(f"`{key}` that is {kind_of(value)}", expected)
    return text_of(key, str(value))


def kind_of(value: Any) -> str:
    """The type of a value, in words; never the value, which may be a person's text."""
    if value is None:
        return "missing or null"
    return f"an empty {type(value).__name__}" if value in ("", [], {}) else f"of type {type(value).__name__}"
