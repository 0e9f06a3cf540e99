"""Artifacts: a folder per run that can be read without aft. Written from the store, so writing again is harmless."""

import asyncio
import json
import os
from pathlib import Path

from aft_api.db.engine import Store
from aft_api.runs.diagnoses import list_diagnoses
from aft_api.runs.events import list_events
from aft_api.runs.schedules import latest_schedule
from aft_api.runs.windows import list_windows
from aft_contracts import Event, Schedule

PAGE = 500


class Artifacts:
    """Writes `<root>/<run_id>/{events.jsonl, windows/, diagnoses/, blacklist.json}`."""

    def __init__(self, store: Store, root: Path) -> None:
        self._store, self._root = store, root

    async def write(self, run_id: str) -> None:
        """Bring a run's folder up to date with the store."""
        folder = self._root / run_id
        after_seq = await asyncio.to_thread(_last_seq, folder / "events.jsonl")
        while True:
            async with self._store.reads() as session:
                events = await list_events(session, run_id, after_seq=after_seq, limit=PAGE)
            if not events:
                break
            await asyncio.to_thread(_append, folder / "events.jsonl", events)
            after_seq = events[-1].seq
        written = await asyncio.to_thread(_written_windows, folder / "windows")
        async with self._store.reads() as session:
            documents = {
                f"windows/{window.index:05d}.json": window.model_dump_json(indent=1)
                for window in await list_windows(session, run_id, from_index=written)
                if window.result is not None
            }
            for number, report in enumerate(await list_diagnoses(session, run_id)):
                documents[f"diagnoses/{number:03d}.json"] = report.model_dump_json(indent=1)
            schedule = await latest_schedule(session, run_id)
        documents["blacklist.json"] = _blacklist(schedule)
        documents[f"blacklists/{schedule.version:04d}.json"] = _blacklist(schedule)
        await asyncio.to_thread(_write_all, folder, documents)


def _written_windows(folder: Path) -> int:
    """How many windows have their file; they are committed, and so written, in order."""
    return len(list(folder.glob("*.json")))


def _blacklist(schedule: Schedule) -> str:
    entries = [entry.model_dump(mode="json") for entry in schedule.blacklist]
    return json.dumps({"version": schedule.version, "blacklist": entries}, indent=1)


def _last_seq(path: Path) -> int:
    """Seq of the last whole line; a line that a crash cut off is taken away."""
    if not path.exists():
        return 0
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        os.truncate(path, len(whole))
    return int(json.loads(whole.splitlines()[-1])["seq"]) if whole else 0


def _append(path: Path, events: list[Event]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as lines:
        lines.writelines(event.model_dump_json() + "\n" for event in events)


def _write_all(folder: Path, documents: dict[str, str]) -> None:
    for name, text in documents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
