"""Integers that people write fit into what keeps them."""

import pytest
from pydantic import ValidationError

from aft_contracts import OptimSpec


@pytest.mark.parametrize("steps", [2**63, 2**90])
def test_an_integer_that_no_store_keeps_is_refused_by_its_field(steps: int) -> None:
    with pytest.raises(ValidationError, match=r"warmup_steps\n.*more than 64 bits; send a smaller one"):
        OptimSpec(warmup_steps=steps)
    assert OptimSpec(warmup_steps=2**63 - 1).warmup_steps == 2**63 - 1
