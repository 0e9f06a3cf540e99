"""Announcer: tells the control plane that the worker is there, and drops what it says belongs to others."""

import asyncio

import httpx
import structlog
from fastapi.concurrency import run_in_threadpool

from aft_contracts import Heartbeat, HeartbeatAnswer
from aft_worker.refusals import StaleFence
from aft_worker.settings import WorkerSettings
from aft_worker.worker import Worker

log = structlog.get_logger(__name__)
ANSWER_WITHIN_S = 5.0


class Announcer:
    """One heartbeat after another, to the first of the APIs that answers: replicas share what they know."""

    def __init__(self, worker: Worker, settings: WorkerSettings) -> None:
        self._worker, self._settings = worker, settings
        self._is_heard = True

    async def run(self) -> None:
        """Announce until cancelled; what goes wrong with one beat is over with it."""
        token = self._settings.token
        headers = {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}
        async with httpx.AsyncClient(timeout=ANSWER_WITHIN_S, headers=headers, trust_env=False) as http:
            while True:
                has_dropped = False
                try:
                    answer = await self._beat(http)
                    for run_id, fence_token in answer.drop.items():
                        has_dropped |= await self._drop(run_id, fence_token)
                except Exception:
                    log.exception("heartbeat_failed")
                # What was dropped makes room at once.
                await asyncio.sleep(0.1 if has_dropped else self._settings.heartbeat_s)

    async def _beat(self, http: httpx.AsyncClient) -> HeartbeatAnswer:
        beat = Heartbeat(base_url=self._settings.advertised_url, info=self._worker.info())
        reasons = []
        for url in self._settings.api_urls:
            try:
                response = await http.post(
                    f"{url.rstrip('/')}/workers/{beat.info.worker_id}/heartbeat",
                    content=beat.model_dump_json(),
                    headers={"content-type": "application/json"},
                )
                response.raise_for_status()
                answer = HeartbeatAnswer.model_validate_json(response.content)
            except httpx.HTTPStatusError as error:
                reasons.append(f"{url}: {error.response.status_code} {error.response.text[:300]}")
            except Exception as error:  # noqa: BLE001 - a bad URL fails in many ways, and must not silence the others
                reasons.append(f"{url}: {type(error).__name__}")
            else:
                self._is_heard = True
                return answer
        if self._is_heard:  # said once, not with every heartbeat
            log.warning("heartbeat_not_heard", reasons=reasons)
        self._is_heard = False
        return HeartbeatAnswer()

    async def _drop(self, run_id: str, fence_token: int) -> bool:
        """Whether the run is gone; one that is not keeps no other from going, and the next answer names it again."""
        try:
            await run_in_threadpool(self._worker.release, run_id, fence_token)
        except StaleFence as error:
            log.info("run_not_dropped", run_id=run_id, reason=str(error))  # it has been given to us anew meanwhile
            return False
        except Exception:
            log.exception("run_not_dropped", run_id=run_id)
            return False
        log.warning("run_dropped", run_id=run_id, fence_token=fence_token)
        return True
