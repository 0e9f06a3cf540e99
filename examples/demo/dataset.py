"""The demo's files: training and held-out rows, and an answer key that aft never sees."""

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aft_contracts import Schedule
from aft_worker.data.plan import DataPlan
from examples.demo import plan
from examples.demo.conversations import ChatRow, chat_rows
from examples.demo.poison import PoisonKind, Spoiler, load_tokenizer

STRANGERS = 200


@dataclass(frozen=True, kw_only=True)
class PoisonedRow:
    """An entry of the answer key."""

    row_id: str
    kind: PoisonKind
    domain: str
    step: int
    """The step that draws it, as long as the mix does not change."""


@dataclass(frozen=True, kw_only=True)
class DemoData:
    """Where the files lie, and what is wrong with them."""

    training: Mapping[str, Path]
    held_out: Mapping[str, Path]
    answer_key: tuple[PoisonedRow, ...]


def write_data(folder: Path, model_dir: Path) -> DemoData:
    """Write the rows of every domain below `folder`, the same ones each time."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(plan.SEED)
    real = chat_rows(plan.SEED)
    training_rows = {domain: real[domain][: plan.ROWS_PER_DOMAIN] for domain in plan.DOMAINS}
    held_out_rows = {domain: real[domain][plan.ROWS_PER_DOMAIN :][: plan.HELD_OUT_ROWS] for domain in plan.DOMAINS}
    answer_key = _choose_rows(training_rows, rng)
    spoiler = Spoiler(tokenizer=load_tokenizer(model_dir), strangers=real[plan.DOMAINS[0]][-STRANGERS:], rng=rng)
    kinds = {poisoned.row_id: poisoned.kind for poisoned in answer_key}
    training = {
        domain: _write(folder / f"{domain}.jsonl", (_line(row, kinds.get(row.row_id), spoiler) for row in rows))
        for domain, rows in training_rows.items()
    }
    held_out = {
        domain: _write(folder / f"{domain}.held-out.jsonl", (row.as_json() for row in rows))
        for domain, rows in held_out_rows.items()
    }
    _write(folder / "answer-key.jsonl", (vars(poisoned) for poisoned in answer_key))
    return DemoData(training=training, held_out=held_out, answer_key=answer_key)


def _choose_rows(rows: Mapping[str, list[ChatRow]], rng: random.Random) -> tuple[PoisonedRow, ...]:
    """For each poisoned step one of the rows that the worker's data plan draws there."""
    data_plan = DataPlan(
        seed=plan.SEED,
        sample_ids={domain: [row.row_id for row in domain_rows] for domain, domain_rows in rows.items()},
        weights=dict.fromkeys(rows, 1.0),
        batch_size=plan.BATCH_SIZE,
    )
    chosen = []
    for step, kind in plan.POISONED_STEPS:
        slot = rng.choice(data_plan.slots_at(step, Schedule()))
        chosen.append(PoisonedRow(row_id=data_plan.sample_id(slot), kind=kind, domain=slot.domain, step=step))
    return tuple(chosen)


def _line(row: ChatRow, kind: PoisonKind | None, spoiler: Spoiler) -> dict[str, Any]:
    return row.as_json() if kind is None else spoiler.spoiled(kind, row)


def _write(path: Path, lines: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
