"""The looker: asks `GET /runs/{id}` at a steady rate, whether or not earlier answers have come."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from benchmarks.control.plane import Plane

PATIENCE_S = 30.0


@dataclass(kw_only=True)
class Looker:
    """Seconds from the moment at which each question was due to its answer, with that moment."""

    plane: Plane
    run_ids: Sequence[str]
    rate_hz: float
    asked_at_s: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failures: int = 0

    async def look(self) -> None:
        """Ask until cancelled."""
        chance = random.Random(0)
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client, asyncio.TaskGroup() as questions:
            due_s = time.monotonic()
            while True:
                due_s += 1 / self.rate_hz
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                questions.create_task(self._ask(client, chance.choice(self.run_ids), due_s))

    async def _ask(self, client: httpx.AsyncClient, run_id: str, due_s: float) -> None:
        try:
            response = await client.get(f"{self.plane.api.url}/runs/{run_id}")
            response.raise_for_status()
        except httpx.HTTPError:
            self.failures += 1
            return
        self.asked_at_s.append(due_s)
        self.seconds.append(time.monotonic() - due_s)
