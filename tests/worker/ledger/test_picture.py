"""The picture: a PNG of the right size in every case that a run can be in."""

import struct
from dataclasses import replace

import numpy as np
import pytest

from aft_contracts import SampleOrder, Schedule
from aft_worker.checkpoint.newest import NewestCommit
from aft_worker.ledger.measures import dynamics
from aft_worker.ledger.picture import picture
from aft_worker.ledger.presentations import Presentations
from aft_worker.ledger.report import RunSamples
from aft_worker.ledger.suspicion import suspicion
from tests.worker.ledger.conftest import presentations_of
from tests.worker.ledger.test_suspicion import run


def samples_of(seen: Presentations) -> RunSamples:
    return RunSamples(
        run_id="run",
        commit=NewestCommit(generation=0, step=int(seen.step[-1]) + 1, schedule=Schedule()),
        steps_recorded=int(seen.step[-1]) + 1,
        seen=seen,
        dynamics=dynamics(seen, np.bincount(seen.domain_of)),
        suspicion=suspicion(seen),
        contents=None,
    )


def with_accuracy(seen: Presentations) -> Presentations:
    return replace(seen, accuracy=np.exp(-seen.loss))


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(with_accuracy(run(samples=400, epochs=2, noisy=8)), id="two epochs"),
        pytest.param(run(samples=400, epochs=1), id="one epoch without accuracy"),
        pytest.param(presentations_of(("a", 1.0)), id="one sample"),
        pytest.param(presentations_of(("a", float("nan")), ("b", float("inf")), ("a", 1.0)), id="not finite"),
        pytest.param(presentations_of(("a", float("nan"))), id="nothing finite"),
        pytest.param(presentations_of(("a_$x^2$_" * 9, 1.0), ("b", 2.0)), id="an id that looks like mathematics"),
        pytest.param(presentations_of(*[(f"样{i}", 1.0 + 50 * (i == 9)) for i in range(80)]), id="foreign letters"),
    ],
)
def test_a_picture_is_drawn(seen: Presentations) -> None:
    samples = samples_of(seen)
    png = picture(samples, samples.ranked(SampleOrder.SUSPICION, None))
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (1430, 770)
