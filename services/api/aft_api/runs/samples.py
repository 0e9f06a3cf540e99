"""A run's samples, from whichever worker has its ledger."""

from http import HTTPStatus

from aft_api.errors import AftError
from aft_api.supervisor.workers import Workers
from aft_api.worker_client import SampleQuery, WorkerRefused, WorkerUnreachable
from aft_contracts import Problem


class SamplesUnreachable(AftError):
    """The worker that has the run's ledger does not answer."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class LedgerNotFound(AftError):
    """No worker has the run's ledger."""

    status = HTTPStatus.NOT_FOUND


class SamplesRefused(AftError):
    """The worker has no report to give."""

    def __init__(self, reported: Problem) -> None:
        self.reported = reported
        super().__init__(reported.detail, **reported.facts)

    @property
    def problem(self) -> Problem:
        """The worker's own problem: its code says what is wrong."""
        return self.reported


async def find_samples(workers: Workers, run_id: str, known_url: str | None, query: SampleQuery) -> bytes:
    """The report in the form asked for; the run's own worker is asked first, then the others.

    Raises:
        SamplesUnreachable: a worker that may have the ledger does not answer.
        LedgerNotFound: all answer, and none has files of the run.
        SamplesRefused: the worker that has them has nothing to report, or not what was asked for.
    """
    lost: list[WorkerUnreachable] = []
    for client in await workers.clients(first=known_url):
        try:
            return await client.samples(run_id, query)
        except WorkerUnreachable as error:
            lost.append(error)
        except WorkerRefused as error:
            if error.reported.code != "run_unknown":
                raise SamplesRefused(error.reported) from error
    if lost:
        raise SamplesUnreachable(str(lost[0]), run_id=run_id, **lost[0].facts)
    raise LedgerNotFound(
        f"No worker has files of run {run_id}: nothing of it has been trained yet, or its worker's storage is gone.",
        run_id=run_id,
    )
