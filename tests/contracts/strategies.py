"""Hypothesis strategies for contracts, read off their own fields and limits."""

import types
from datetime import UTC
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as limits
from hypothesis import strategies as st
from pydantic import AfterValidator, StringConstraints, ValidationError

from aft_contracts import Contract
from aft_contracts.contract import Measured
from aft_contracts.notify import CLOCK_RULE, ZONE_RULE

LARGEST_INT = 2**53
MEASURED_MARKS = get_args(Measured)[1:]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-LARGEST_INT, LARGEST_INT) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def contracts(model: type[Contract]) -> st.SearchStrategy[Contract]:
    """Valid values of `model`; a measured figure may be NaN or infinite, every other float is finite."""
    fields = {name: _values(field.annotation, tuple(field.metadata)) for name, field in model.model_fields.items()}

    def built(given: dict[str, Any]) -> Contract | None:
        try:
            return model(**given)
        except ValidationError:
            return None  # a rule between fields, such as "at least one weight above 0"

    return st.fixed_dictionaries(fields).map(built).filter(lambda value: value is not None)


def _values(annotation: Any, marks: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(arguments[0], (*marks, *arguments[1:]))
    if origin in {Union, types.UnionType}:
        return st.one_of(*(_values(option) for option in sorted(arguments, key=lambda one: one is not type(None))))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        assert arguments[1] is Ellipsis, f"no strategy for {annotation}"
        return st.lists(_values(arguments[0]), min_size=_limit(marks, limits.MinLen, 0), max_size=3).map(tuple)
    if origin is dict:
        names, inner = (_values(argument) for argument in arguments)
        return st.dictionaries(names, inner, min_size=_limit(marks, limits.MinLen, 0), max_size=3)
    return _leaves(annotation, marks)


def _leaves(annotation: Any, marks: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if any(mark in {CLOCK_RULE, ZONE_RULE} for mark in marks if isinstance(mark, AfterValidator)):
        return st.sampled_from(["00:00", "22:30"] if CLOCK_RULE in marks else ["UTC", "Europe/Berlin"])
    if annotation is Any:
        return JSON_VALUES
    if annotation is str:
        return _texts(marks)
    if annotation is int:
        low, high = _limit(marks, limits.Ge, -LARGEST_INT), _limit(marks, limits.Le, LARGEST_INT)
        return st.integers(low, min(high, _limit(marks, limits.Lt, LARGEST_INT + 1) - 1))
    if annotation is float:
        return _floats(marks)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return st.sampled_from(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Contract):
        return st.deferred(lambda: contracts(annotation))
    return st.datetimes(timezones=st.just(UTC)) if annotation.__name__ == "datetime" else st.from_type(annotation)


def _floats(marks: tuple[Any, ...]) -> st.SearchStrategy[float]:
    if all(mark in marks for mark in MEASURED_MARKS):
        return st.floats()
    above, below = _limit(marks, limits.Gt, None), _limit(marks, limits.Lt, None)
    return st.floats(
        min_value=above if above is not None else _limit(marks, limits.Ge, None),
        max_value=below if below is not None else _limit(marks, limits.Le, None),
        exclude_min=above is not None,
        exclude_max=below is not None,
        allow_nan=False,
        allow_infinity=False,
    )


def _texts(marks: tuple[Any, ...]) -> st.SearchStrategy[str]:
    pattern = next((mark.pattern for mark in marks if isinstance(mark, StringConstraints)), None)
    if pattern is not None:
        return st.from_regex(pattern, fullmatch=True).filter(lambda text: not text.endswith("\n"))
    return st.text(min_size=_limit(marks, limits.MinLen, 0), max_size=8)


def _limit(marks: tuple[Any, ...], kind: type, otherwise: Any) -> Any:
    """The value of the limit of this kind, such as 0 for Ge(ge=0)."""
    return next((getattr(mark, mark.__slots__[0]) for mark in marks if isinstance(mark, kind)), otherwise)
