"""Artifacts: a folder per run that can be read without aft. Written from the store, so writing again is harmless."""

import asyncio
import json
import os
from pathlib import Path
from typing import TextIO, cast

from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.db.engine import Store
from aft_api.runs.diagnoses import list_diagnoses
from aft_api.runs.events import list_events
from aft_api.runs.schedules import latest_schedule
from aft_api.runs.windows import find_windows
from aft_contracts import Event, EventKind, Schedule

PAGE = 500
TAIL_BYTES = 65_536
"""Of a file of events this much is read to find where it ends."""
MOVE_SCHEDULE = frozenset(
    {EventKind.RUN_CREATED, EventKind.COMMAND_APPLIED, EventKind.REPAIR_CHOSEN, EventKind.MIX_CHANGED}
)
"""Events that a new version of the schedule may come with."""

TELL_OF_DIAGNOSES = frozenset(
    {
        EventKind.DIAGNOSED,
        EventKind.REPAIR_CHOSEN,
        EventKind.COMMAND_APPLIED,
        EventKind.REPAIR_PROVEN,
        EventKind.REPAIR_FAILED,
    }
)
"""Events with which a report of a diagnosis is new, has its repair, or says what became of it."""


class Artifacts:
    """Writes `<root>/<run_id>/{events.jsonl, windows/, diagnoses/, blacklist.json}`.

    The events say what else has changed, so each thing is read from the store and written once. They are appended last:
    after a crash in between, all that belongs to them is written again.
    """

    def __init__(self, store: Store, root: Path) -> None:
        self._store, self._root = store, root
        self._last_seqs: dict[str, int] = {}

    def forget(self, run_id: str) -> None:
        """Forget where a run's folder ends: another process may have written it, or a write may have been cut off."""
        self._last_seqs.pop(run_id, None)

    async def write(self, run_id: str) -> None:
        """Bring the folder of a run up to date with the store.

        Raises:
            OSError: it cannot be written; the next call begins with what is there by then.
        """
        folder = self._root / run_id
        try:
            await self._write_on(run_id, folder)
        except OSError:
            self.forget(run_id)
            raise

    async def _write_on(self, run_id: str, folder: Path) -> None:
        if run_id not in self._last_seqs:
            self._last_seqs[run_id] = await asyncio.to_thread(_last_seq, folder / "events.jsonl")
        after_seq = self._last_seqs[run_id]
        while True:
            async with self._store.reads() as session:
                events = await list_events(session, run_id, after_seq=after_seq, limit=PAGE)
                documents = await _documents(session, run_id, events)
            if not events:
                return
            await asyncio.to_thread(_write, folder, documents, events)
            after_seq = self._last_seqs[run_id] = events[-1].seq
            if len(events) < PAGE:
                return


async def _documents(session: AsyncSession, run_id: str, events: list[Event]) -> dict[str, str]:
    """Files, by name, of what the events tell of."""
    kinds = {event.kind for event in events}
    committed = [event.details["window_id"] for event in events if event.kind is EventKind.WINDOW_COMMITTED]
    documents = {
        f"windows/{window.index:05d}.json": window.model_dump_json(indent=1)
        for window in await find_windows(session, committed)
    }
    if kinds & TELL_OF_DIAGNOSES:
        for number, report in enumerate(await list_diagnoses(session, run_id)):
            documents[f"diagnoses/{number:03d}.json"] = report.model_dump_json(indent=1)
    if kinds & MOVE_SCHEDULE:
        schedule = await latest_schedule(session, run_id)
        documents["blacklist.json"] = _blacklist(schedule)
        documents[f"blacklists/{schedule.version:04d}.json"] = _blacklist(schedule)
    return documents


def _blacklist(schedule: Schedule) -> str:
    entries = [entry.model_dump(mode="json") for entry in schedule.blacklist]
    return json.dumps({"version": schedule.version, "blacklist": entries}, indent=1)


def _last_seq(path: Path) -> int:
    """Seq of the last event that can be read. What stands behind it is taken away, for the store has it: half a line
    that a crash left, or all lines where none is seen to be an event.
    """
    if not path.exists():
        return 0
    with path.open("rb") as lines:
        size = end = lines.seek(0, os.SEEK_END)
        lines.seek(max(0, size - TAIL_BYTES))
        tail = lines.read()
    seq = None
    for line in reversed(tail.splitlines(keepends=True)):
        if (seq := _seq_of(line)) is not None:
            break
        end -= len(line)
    if seq is None:
        end = 0
    if end < size:
        os.truncate(path, end)
    return seq or 0


def _seq_of(line: bytes) -> int | None:
    try:
        return int(json.loads(line)["seq"]) if line.endswith(b"\n") else None
    except (ValueError, TypeError, KeyError):
        return None


def _write(folder: Path, documents: dict[str, str], events: list[Event]) -> None:
    for name, text in documents.items():
        path = folder / name
        draft = path.with_suffix(".draft")
        with _opened(draft, "w") as document:
            document.write(text)
        draft.replace(path)
    with _opened(folder / "events.jsonl", "a") as lines:
        lines.write("".join(event.model_dump_json() + "\n" for event in events))


def _opened(path: Path, mode: str) -> TextIO:
    """The file, its folder made where it is missing: it nearly always is there, and to ask each time takes as long."""
    try:
        return cast(TextIO, path.open(mode, encoding="utf-8"))
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return cast(TextIO, path.open(mode, encoding="utf-8"))
