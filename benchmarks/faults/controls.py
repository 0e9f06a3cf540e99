"""Controls: runs with which nothing is wrong, though some of them look it."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.faults.case import ROWS, Case, Row
from benchmarks.faults.text import FOREIGN, code, remarks

LEARNING_RATE = 3e-3
RARE_SHARE = 0.02
REMARK_SHARE = 0.3
HARD_SHARE = 0.005
MIX_STEPS = range(55, 65)
"""Where the mix changes: early enough that all detectors are armed again for a hundred steps."""
CODE_ROWS = 1500
TABLE_LINES = 12


class RareRows(Case):
    """Two rows in a hundred are source code among the chats: hard, rare and valid."""

    name = "rare_rows"

    def domains(self) -> dict[str, list[Row]]:
        """Chats, some of them replaced."""
        return {"chat": _mixed(self.chat_rows(), self.rng.sample(code(), int(RARE_SHARE * ROWS)), self)}


class HardRareRows(Case):
    """One row in two hundred is another language, Base64 or a table: each of them valid, and as hard as garbage."""

    name = "hard_rare_rows"

    def domains(self) -> dict[str, list[Row]]:
        """Chats, a few of them replaced."""
        kinds = (self._foreign, self._base64, self._table)
        texts = [kinds[number % len(kinds)]() for number in range(int(HARD_SHARE * ROWS))]
        return {"chat": _mixed(self.chat_rows(), texts, self)}

    def _foreign(self) -> str:
        return self.rng.choice(FOREIGN)

    def _base64(self) -> str:
        return base64.b64encode(self.rng.randbytes(96)).decode()

    def _table(self) -> str:
        lines = (
            f"{year},{self.rng.randrange(10**5)},{self.rng.random():.4f},{self.rng.choice(('EUR', 'USD', 'JPY'))}"
            for year in range(2012, 2012 + TABLE_LINES)
        )
        return "\n".join(("year,units,share,currency", *lines))


class HeavyTail(Case):
    """Three rows in ten are remarks of one to seven words, whose loss is anything."""

    name = "heavy_tail"

    def domains(self) -> dict[str, list[Row]]:
        """Chats, many of them replaced."""
        return {"chat": _mixed(self.chat_rows(), self.rng.sample(remarks(), int(REMARK_SHARE * ROWS)), self)}


class HarderMix(Case):
    """An operator raises the share of chats among source code, which is the easier text, from a tenth to a half.

    The loss rises by half a nat. It happens early, so that every detector is armed again for half of the run.
    """

    name = "harder_mix"

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.first_step = self.rng.choice(MIX_STEPS)

    @property
    def weights(self) -> Mapping[str, float]:
        """Nine to one."""
        return {"code": 0.9, "chat": 0.1}

    @property
    def commands(self) -> Sequence[tuple[int, dict[str, Any]]]:
        """Half and half."""
        return ((self.first_step, {"kind": "set_mix", "weights": {"code": 0.5, "chat": 0.5}}),)

    def domains(self) -> dict[str, list[Row]]:
        """Chats and source code."""
        pieces = code()
        chosen = self.rng.sample(pieces, min(CODE_ROWS, len(pieces)))
        return {"chat": self.chat_rows(), "code": [{"id": f"p{i}", "text": text} for i, text in enumerate(chosen)]}


class ScheduleRestart(Case):
    """An operator starts the learning rate again at one and a half times its curve, with a warm-up."""

    name = "schedule_restart"

    @property
    def commands(self) -> Sequence[tuple[int, dict[str, Any]]]:
        """A warm restart."""
        return ((self.first_step, {"kind": "set_lr", "learning_rate": 1.5 * LEARNING_RATE, "rewarmup_steps": 10}),)


class SmallBatches(Case):
    """Two rows a step: every step's figures jump about."""

    name = "small_batches"
    batch_size = 2


CONTROLS = (Case, RareRows, HarderMix, ScheduleRestart, SmallBatches, HeavyTail, HardRareRows)


def _mixed(rows: list[Row], texts: Sequence[str], case: Case) -> list[Row]:
    places = case.rng.sample(range(len(rows)), len(texts))
    for place, text in zip(places, texts, strict=True):
        rows[place] = rows[place] | {"text": text}
    return rows
