"""ConfigValues: the entries of a config.json, each checked as it is read."""

import sys
from collections.abc import Mapping
from typing import Any

from aft_worker.model.errors import InvalidModelConfig

LARGEST = sys.float_info.max


class ConfigValues:
    """What the file says, and beneath it what transformers assumes for keys that are left out."""

    def __init__(self, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self._values = {**defaults, **given}

    def get(self, key: str) -> Any:
        """The entry as it stands; None where there is none."""
        return self._values.get(key)

    def size(self, key: str, or_else: int | None = None) -> int:
        """A whole number of at least 1; `or_else` where the entry is null or absent."""
        value = self._values.get(key)
        if value is None and or_else is not None:
            return or_else
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InvalidModelConfig(key, value, "a whole number of at least 1")
        return value

    def optional_size(self, key: str) -> int | None:
        """A whole number of at least 1, or None where the entry is null or absent."""
        return None if self._values.get(key) is None else self.size(key)

    def positive(self, key: str) -> float:
        """A number above 0."""
        return positive(key, self._values.get(key))

    def optional_positive(self, key: str) -> float | None:
        """A number above 0, or None where the entry is null or absent."""
        return None if self._values.get(key) is None else self.positive(key)

    def flag(self, key: str) -> bool:
        """True or false; null and absent count as false."""
        return bool(self._values.get(key))

    def one_of(self, key: str, allowed: Mapping[str, Any]) -> str:
        """A name that `allowed` has."""
        value = self._values.get(key)
        if not isinstance(value, str) or value not in allowed:
            raise InvalidModelConfig(key, value, f"one of {', '.join(allowed)}")
        return str(value)

    def refuse(self, *keys: str) -> None:
        """Refuses a config that switches one of `keys` on."""
        for key in keys:
            if self._values.get(key):
                raise InvalidModelConfig(key, self._values[key], "false: this decoder does not do that")


def positive(key: str, value: object) -> float:
    """`value` as a number above 0; `key` is how an error names it."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= LARGEST:
        raise InvalidModelConfig(key, value, "a number above 0")
    return float(value)
