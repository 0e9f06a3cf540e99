"""All cases."""

from benchmarks.faults.case import Case
from benchmarks.faults.controls import CONTROLS
from benchmarks.faults.course_faults import COURSE_FAULTS, HARD_FAULTS
from benchmarks.faults.data_faults import DATA_FAULTS
from benchmarks.faults.state_faults import STATE_FAULTS

__all__ = ["CASES", "CONTROLS", "FAULTS", "HARD_FAULTS", "case_named"]

FAULTS: tuple[type[Case], ...] = (*DATA_FAULTS, *COURSE_FAULTS, *STATE_FAULTS)
CASES: tuple[type[Case], ...] = (*FAULTS, *HARD_FAULTS, *CONTROLS)


def case_named(name: str) -> type[Case]:
    """The case of that name."""
    return {case.name: case for case in CASES}[name]
