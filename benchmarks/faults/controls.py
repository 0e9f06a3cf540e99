"""Controls: runs with which nothing is wrong, though some of them look it."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.faults.case import Case, Row
from benchmarks.faults.text import code, manual, remarks

LEARNING_RATE = 3e-3
RARE_SHARE = 0.02
REMARK_SHARE = 0.3


class RareRows(Case):
    """Two rows in a hundred are source code among the chats: hard, rare and valid."""

    name = "rare_rows"

    def domains(self) -> dict[str, list[Row]]:
        """Chats, some of them replaced."""
        return {"chat": _mixed(self.chat_rows(), self.rng.sample(code(), int(RARE_SHARE * 2200)), self)}


class HeavyTail(Case):
    """Three rows in ten are remarks of one to seven words, whose loss is anything."""

    name = "heavy_tail"

    def domains(self) -> dict[str, list[Row]]:
        """Chats, many of them replaced."""
        return {"chat": _mixed(self.chat_rows(), self.rng.sample(remarks(), int(REMARK_SHARE * 2200)), self)}


class MixChange(Case):
    """An operator raises the share of a second domain from a tenth to a half."""

    name = "mix_change"

    @property
    def weights(self) -> Mapping[str, float]:
        """Nine to one."""
        return {"chat": 0.9, "manual": 0.1}

    @property
    def commands(self) -> Sequence[tuple[int, dict[str, Any]]]:
        """Half and half."""
        return ((self.first_step, {"kind": "set_mix", "weights": {"chat": 0.5, "manual": 0.5}}),)

    def domains(self) -> dict[str, list[Row]]:
        """Chats and what the base model was trained on."""
        rows = [{"id": f"m{i}", "text": text} for i, text in enumerate(self.rng.sample(manual(), 1500))]
        return {"chat": self.chat_rows(), "manual": rows}


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


CONTROLS = (Case, RareRows, MixChange, ScheduleRestart, SmallBatches, HeavyTail)


def _mixed(rows: list[Row], texts: Sequence[str], case: Case) -> list[Row]:
    places = case.rng.sample(range(len(rows)), len(texts))
    for place, text in zip(places, texts, strict=True):
        rows[place] = rows[place] | {"text": text}
    return rows
