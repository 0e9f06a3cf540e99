"""A worker announces itself, drops what it is told to, and commits nothing once another has its run."""

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import structlog

from aft_contracts import Heartbeat, HeartbeatAnswer, RunLoad, RunSpec, WorkerInfo
from aft_worker.announcer import Announcer
from aft_worker.run_folder import RunFolder
from aft_worker.settings import WorkerSettings
from aft_worker.worker import Worker
from tests.worker.test_server import body, ended, load, put, refusal, serving, window

MakeSpec = Callable[..., RunSpec]


@contextmanager
def listening_api(heard: list[Heartbeat], drop: dict[str, int]) -> Iterator[str]:
    """An API that keeps what it hears and answers with `drop`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.append(Heartbeat.model_validate_json(body))
            assert self.path == "/workers/w/heartbeat"
            answer = HeartbeatAnswer(drop=drop).model_dump_json().encode()
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Faltering(Worker):
    """Says nothing of itself the first time it is asked."""

    is_asked = False

    def info(self) -> WorkerInfo:
        if not self.is_asked:
            self.is_asked = True
            raise OSError(errno.EMFILE, "Too many open files")
        return super().info()


@asynccontextmanager
async def announcing(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(Announcer(worker, worker.settings).run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def heard_of(task: asyncio.Task[None], heard: list[Heartbeat], *, times: int) -> None:
    """Returns once the API has heard so many heartbeats; fails when no more can come."""
    while len(heard) < times:
        assert not task.done()
        await asyncio.sleep(0.01)


def settings(root: Path, *urls: str) -> WorkerSettings:
    return WorkerSettings(root=root, worker_id="w", api_urls=urls, heartbeat_s=0.02)


@pytest.mark.anyio
@pytest.mark.parametrize("bad_url", ["http://\0", "http://xn--", "http://127.0.0.1:70000", "no url"])
async def test_bad_url_does_not_silence_the_others(tmp_path: Path, bad_url: str) -> None:
    heard: list[Heartbeat] = []
    with listening_api(heard, {}) as url:
        async with announcing(Worker(settings(tmp_path, bad_url, url))) as task:
            await heard_of(task, heard, times=2)
    assert [beat.info.worker_id for beat in heard[:2]] == ["w", "w"]


@pytest.mark.anyio
async def test_beat_that_fails_is_logged_and_followed_by_the_next(tmp_path: Path) -> None:
    heard: list[Heartbeat] = []
    with listening_api(heard, {}) as url, structlog.testing.capture_logs() as logs:
        async with announcing(Faltering(settings(tmp_path, url))) as task:
            await heard_of(task, heard, times=2)
    assert [(line["event"], line["exc_info"]) for line in logs] == [("heartbeat_failed", True)]


@pytest.mark.anyio
async def test_run_that_cannot_be_dropped_keeps_no_other_from_it(tmp_path: Path) -> None:
    heard: list[Heartbeat] = []
    (tmp_path / "broken").write_text("a file where the run's folder belongs")
    drop = {"broken": 5, "sound": 5}
    with listening_api(heard, drop) as url, structlog.testing.capture_logs() as logs:
        async with announcing(Worker(settings(tmp_path, url))) as task:
            await heard_of(task, heard, times=3)
    assert (tmp_path / "sound/fence").read_text() == "5"
    told = [(line["event"], line["run_id"], line.get("exc_info")) for line in logs]
    assert told[:2] == [("run_not_dropped", "broken", True), ("run_dropped", "sound", None)]


def test_worker_announces_what_it_holds_and_drops_what_it_is_told_to(tmp_path: Path, make_spec: MakeSpec) -> None:
    heard: list[Heartbeat] = []
    drop: dict[str, int] = {}
    with (
        listening_api(heard, drop) as url,
        serving(
            tmp_path / "root", api_urls=("http://127.0.0.1:9", url), heartbeat_s=0.05, public_url="http://w:1"
        ) as w,
    ):
        load(w, make_spec())
        while not heard or not heard[-1].info.run_ids:
            time.sleep(0.02)
        assert (heard[-1].base_url, heard[-1].info.fences) == ("http://w:1", {"r": 1})
        assert heard[-1].info.root_id == (tmp_path / "root" / ".aft-root").read_text().strip()
        drop["r"] = 0
        told = len(heard) + 3  # the answer to one of these is known when the next is sent
        while len(heard) < told:
            time.sleep(0.02)
        assert heard[-1].info.run_ids == ("r",), "an older token than the run is held by says nothing"
        drop["r"] = 2
        while heard[-1].info.run_ids:
            time.sleep(0.02)
        assert refusal(put(w, window())) == (412, "stale_fence")


def test_api_is_not_told_through_a_proxy(tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    heard: list[Heartbeat] = []
    with (
        listening_api(heard, {}) as url,
        serving(tmp_path / "root", api_urls=(url,), heartbeat_s=0.05, public_url="http://w:1"),
    ):
        deadline = time.monotonic() + 30
        while not heard:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_worker_commits_nothing_once_another_has_the_run(tmp_path: Path, make_spec: MakeSpec) -> None:
    root = tmp_path / "root"
    with serving(root) as stale:
        load(stale, make_spec())
        put(stale, window(steps=120))
        while len(stale.get("/windows/r:0:0", params={"wait_s": 5}).json()["progress"]) < 1:
            time.sleep(0.01)
        RunFolder(root, "r").admit(7)  # as a worker does that takes over on the same root
        before = sorted(path.relative_to(root) for path in root.glob("r/checkpoints/*/*"))
        deadline = time.monotonic() + 60
        while stale.get("/windows/r:0:0").status_code == 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert sorted(path.relative_to(root) for path in root.glob("r/checkpoints/*/*")) == before
        assert not list(root.glob("r/checkpoints/0/120"))
    with serving(root) as fresh:  # the other one, with the newer token, comes to the whole window
        loading = RunLoad(run_id="r", spec=make_spec())
        fresh.put("/runs/r", content=body(loading, fence_token=7)).raise_for_status()
        put(fresh, window(steps=120), fence_token=7)
        assert ended(fresh, "/windows/r:0:0")["status"] == "committed"
