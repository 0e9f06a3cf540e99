"""A worker announces itself, drops what it is told to, and commits nothing once another has its run."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

from aft_contracts import Heartbeat, HeartbeatAnswer, RunLoad, RunSpec
from aft_worker.run_folder import RunFolder
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
