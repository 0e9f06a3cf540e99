"""The API process, wired: the only place that knows every part."""

import asyncio
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import httpx
import structlog
from fastapi import FastAPI
from pydantic import SecretStr

from aft_api import previews
from aft_api import status as status_endpoints
from aft_api.access import endpoints as access_endpoints
from aft_api.access.gate import Gate
from aft_api.access.identity import Authenticator
from aft_api.access.oidc import Issuer, Keys, Oidc
from aft_api.access.rate import Buckets
from aft_api.artifacts import Artifacts
from aft_api.clock import Clock, utc_now
from aft_api.db.engine import Store, open_store
from aft_api.db.migrate import upgrade
from aft_api.notify import answer_endpoint, slack_endpoint
from aft_api.notify import endpoints as notifications
from aft_api.notify.answer import Answers
from aft_api.notify.dispatcher import Dispatcher
from aft_api.notify.links import Links
from aft_api.notify.outbox import release_claims
from aft_api.notify.outgoing import guarded_client
from aft_api.notify.parcel import Sender
from aft_api.notify.slack import SlackClient, SlackSender
from aft_api.notify.slack_clicks import SlackClicks
from aft_api.notify.slack_webhook import SlackWebhookSender
from aft_api.notify.webhook import WebhookSender
from aft_api.notify.webhook_secrets import WebhookSecrets
from aft_api.problems import install_problem_handlers
from aft_api.reviews import endpoints as reviews
from aft_api.reviews.deadlines import Deadlines
from aft_api.runs import endpoints as runs
from aft_api.runs.leases import forget_owners
from aft_api.settings import Settings
from aft_api.stop import Stop
from aft_api.supervisor.feeds import open_feeds
from aft_api.supervisor.fleet import RELEASE_WITHIN_S, Fleet
from aft_api.supervisor.graph import REPEATABLE, build_loop
from aft_api.supervisor.hearing import Hearing
from aft_api.supervisor.saver import open_saver
from aft_api.supervisor.workers import Workers
from aft_api.worker_client import worker_session
from aft_api.workers import endpoints as workers_endpoints
from aft_api.workers.watch import Watch

SUMMARY = "Fine-tunes language models and looks after the run."
DRIVING_CONNECTIONS = 4
"""Connections to Postgres for all drivers together, and as many for their checkpoints."""
log = structlog.get_logger()
LEAST_IDLE_S = 5.0
"""A transaction may stand idle for so long however short the lease is: a busy machine may not turn to it sooner."""
SQLITE_TAKEN = (
    "Another aft API uses {folder}: SQLite serves one process. Stop it, or set AFT_DATA_DIR or AFT_DATABASE_URL."
)


OnBroken = Callable[[BaseException], None]


class DataDirTaken(Exception):
    """Another process owns the embedded store."""


def _end_process(_: BaseException) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def create_app(
    settings: Settings, *, clock: Clock = utc_now, on_broken: OnBroken = _end_process, stop: Stop | None = None
) -> FastAPI:
    """The API; its lifespan opens the stores and drives the runs.

    `on_broken` hears of an error that ended the driving of runs; by default the process ends, and is started again.
    `stop` lets go of the runs before the lifespan ends, which is when the last client has gone.
    """
    stop = stop or Stop()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            if settings.database_url is None:
                stack.enter_context(_only_process(settings.data_dir))
            await asyncio.to_thread(upgrade, settings.database_url, settings.data_dir)
            # Half a lease: whoever a frozen process keeps from renewing still can when that process is shut out.
            most_idle_s = max(LEAST_IDLE_S, settings.lease_s / 2)
            store, driving = await _open_stores(settings, stack, most_idle_s)
            http = await stack.enter_async_context(worker_session(settings.worker_token))
            outside = await stack.enter_async_context(guarded_client(settings.outgoing_allow))
            feeds = await stack.enter_async_context(open_feeds(http, settings))
            saver = await stack.enter_async_context(
                open_saver(
                    settings.database_url, settings.data_dir, most_idle_s=most_idle_s, connections=DRIVING_CONNECTIONS,
                    leave_out_before=REPEATABLE,
                )
            )  # fmt: skip
            workers = Workers(store=store, http=http, urls=settings.worker_urls, feeds=feeds, clock=clock)
            watch = Watch(workers=workers, settings=settings, stop=stop)
            fleet = Fleet(
                store=store,
                driving=driving,
                loop=build_loop(saver),
                saver=saver,
                settings=settings,
                clock=clock,
                workers=workers,
                watch=watch,
                artifacts=Artifacts(driving, settings.artifacts_root),
                stop=stop,
            )
            watch.on_room = fleet.wake
            app.state.authenticator = Authenticator(
                settings=settings, store=store, oidc=await _oidc(settings, stack), clock=clock
            )
            app.state.settings, app.state.store, app.state.clock, app.state.fleet = settings, store, clock, fleet
            app.state.stop = stop
            deadlines = Deadlines(store=store, clock=clock, stop=stop, on_answer=fleet.hear)
            hearing = Hearing(store=store, fleet=fleet, stop=stop)
            links, slack = _links(settings), _slack(settings, clock)
            answers = Answers(store=store, clock=clock, on_answer=fleet.hear)
            clicks = SlackClicks(answers, slack, settings.slack_approvers, stop)
            app.state.answers, app.state.links, app.state.slack_clicks = answers, links, clicks
            dispatcher = _dispatcher(settings, store, outside, slack, links, stop, clock)
            async with _background(fleet, [hearing, deadlines, dispatcher, clicks], on_broken):
                log.info("api_started", store="sqlite" if store.is_sqlite else "postgres", workers=settings.worker_urls)
                yield
            log.info("api_stopped")

    app = FastAPI(title="aft", version=version("aft"), summary=SUMMARY, lifespan=lifespan)
    install_problem_handlers(app)
    app.state.gate_rate = Buckets(per_s=settings.requests_per_s)
    app.add_middleware(Gate, settings=settings, buckets=app.state.gate_rate)
    for router in (
        runs.router,
        reviews.router,
        previews.router,
        workers_endpoints.router,
        status_endpoints.router,
        access_endpoints.router,
        slack_endpoint.router,
        notifications.router,
        answer_endpoint.router,
    ):
        app.include_router(router)
    return app


async def _open_stores(settings: Settings, stack: AsyncExitStack, most_idle_s: float) -> tuple[Store, Store]:
    """The store, and the drivers' way into it."""
    store = open_store(settings.database_url, settings.data_dir, most_idle_s=most_idle_s)
    stack.push_async_callback(store.engine.dispose)
    if store.is_sqlite:
        await forget_owners(store)  # The file's lock is ours, so whoever held a lease has ended.
        await release_claims(store)
        return store, store
    # Apart, so that no request and no lease ever queues behind a thousand drivers for a connection; and few, so that
    # few drivers are at work between two turns of a request.
    driving = open_store(
        settings.database_url, settings.data_dir, most_idle_s=most_idle_s, connections=DRIVING_CONNECTIONS
    )
    stack.push_async_callback(driving.engine.dispose)
    return store, driving


async def _oidc(settings: Settings, stack: AsyncExitStack) -> Oidc | None:
    if settings.oidc_issuer is None:
        return None
    assert settings.oidc_audience is not None, "the settings see to it"
    assert settings.oidc_jwks_url is not None, "the settings see to it"
    issuer = Issuer(
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience,
        algorithms=settings.oidc_algorithms,
        role_claim=settings.oidc_role_claim,
        roles=settings.oidc_roles,
    )
    return Oidc(issuer, Keys(await stack.enter_async_context(httpx.AsyncClient()), settings.oidc_jwks_url))


@asynccontextmanager
async def _background(
    fleet: Fleet, others: Sequence[Hearing | Deadlines | Dispatcher | SlackClicks], on_broken: OnBroken
) -> AsyncIterator[None]:
    """Drive runs meanwhile, and do what `others` do; a break of any is reported, for all of them end then."""

    async def work() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fleet.run(), name="fleet")
            tasks.create_task(fleet.watch.run(), name="watch")
            for other in others:
                tasks.create_task(other.run(), name=type(other).__name__.lower())

    def report(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("background_broke", exc_info=error)
            on_broken(error)

    task = asyncio.create_task(work(), name="background")
    task.add_done_callback(report)
    yield
    fleet.stop.ask()
    _, late = await asyncio.wait([task], timeout=fleet.settings.drain_s + RELEASE_WITHIN_S)
    if late:
        log.error("background_did_not_end")
        task.cancel()
        await asyncio.wait([task], timeout=RELEASE_WITHIN_S)


def _dispatcher(
    settings: Settings,
    store: Store,
    outside: httpx.AsyncClient,
    slack: SlackClient | None,
    links: Links | None,
    stop: Stop,
    clock: Clock,
) -> Dispatcher:
    timeout_s = settings.notify_timeout_s
    secrets = WebhookSecrets(
        None if settings.webhook_secret is None else settings.webhook_secret.get_secret_value(),
        _revealed(settings.webhook_secrets),
    )
    senders: dict[str, Sender] = {
        "webhook": WebhookSender(outside, secrets, links, clock=clock, timeout_s=timeout_s),
        "slack_webhook": SlackWebhookSender(
            _revealed(settings.slack_webhooks), links, clock=clock, timeout_s=timeout_s
        ),
    }
    if slack is not None:
        senders["slack"] = SlackSender(slack)
    return Dispatcher(
        store=store,
        senders=senders,
        stop=stop,
        timeout_s=timeout_s,
        public_url=settings.public_url,
        keep=timedelta(days=settings.notify_keep_days),
        clock=clock,
    )


def _slack(settings: Settings, clock: Clock) -> SlackClient | None:
    if settings.slack_token is None:
        return None
    token, timeout_s = settings.slack_token.get_secret_value(), settings.notify_timeout_s
    return SlackClient(token, settings.slack_base_url, clock=clock, timeout_s=timeout_s)


def _links(settings: Settings) -> Links | None:
    if settings.link_secret is None:
        return None
    secret, ttl = settings.link_secret.get_secret_value(), timedelta(hours=settings.link_ttl_h)
    return Links(secret, settings.public_url, ttl=ttl)


def _revealed(secrets: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: secret.get_secret_value() for name, secret in secrets.items()}


@contextmanager
def _only_process(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataDirTaken(SQLITE_TAKEN.format(folder=folder)) from error
        yield
