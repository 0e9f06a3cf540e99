"""The proxy does to requests what it was told, and nothing else."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.chaos.disturbances import Disturbance, Kind
from tests.chaos.proxy import Proxy, proxy


@contextmanager
def behind() -> Iterator[tuple[Proxy, httpx.Client, list[bytes]]]:
    """A proxy, a client of it, and the bodies that came through."""
    came: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            came.append(self.rfile.read(int(self.headers["content-length"])))
            if came[-1] == b"hang up":
                return
            self.send_response(200)
            self.send_header("content-length", "8")
            self.end_headers()
            self.wfile.write(b"answered")

        def do_POST(self) -> None:
            came.append(self.path.encode())
            self.send_response(204)
            self.end_headers()

        def do_DELETE(self) -> None:
            self.do_POST()

        def log_message(self, *words: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        with (
            proxy(server.server_address[1]) as carrier,
            httpx.Client(base_url=f"http://127.0.0.1:{carrier.port}", timeout=10) as client,
        ):
            yield carrier, client, came
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def test_what_is_not_spoilt_goes_through() -> None:
    with behind() as (carrier, client, came):
        carrier.tell(Disturbance(kind=Kind.DROP_REQUEST, method="GET"))
        assert client.put("/x", content=b"one").text == "answered"
        assert came == [b"one"]
        assert not carrier.met
        assert carrier.waits


@pytest.mark.parametrize(("kind", "arrivals"), [(Kind.DROP_REQUEST, 0), (Kind.DROP_RESPONSE, 1), (Kind.TRUNCATE, 1)])
def test_an_answer_is_lost_or_cut_off(kind: Kind, arrivals: int) -> None:
    with behind() as (carrier, client, came):
        carrier.tell(Disturbance(kind=kind, method="PUT", times=2))
        for _ in range(2):
            with pytest.raises(httpx.RemoteProtocolError):
                client.put("/x", content=b"one")
        assert client.put("/x", content=b"two").text == "answered"
        assert came == [b"one"] * 2 * arrivals + [b"two"]
        assert carrier.met == {(kind, "PUT"): 2}
        assert not carrier.waits


@pytest.mark.parametrize("kind", [Kind.DROP_REQUEST, Kind.DROP_RESPONSE, Kind.TRUNCATE])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_an_answer_without_a_body_is_lost_or_cut_off_too(kind: Kind, method: str) -> None:
    with behind() as (carrier, client, came):
        carrier.tell(Disturbance(kind=kind, method=method))
        with pytest.raises(httpx.RemoteProtocolError):
            client.request(method, "/windows/w/cancel?fence_token=1")
        assert client.request(method, "/x").status_code == 204
        assert len(came) == 1 + (kind is not Kind.DROP_REQUEST)
        assert carrier.met == {(kind, method): 1}


def test_of_posts_only_a_cancel_is_spoilt() -> None:
    with behind() as (carrier, client, _):
        carrier.tell(Disturbance(kind=Kind.DROP_RESPONSE, method="POST"))
        assert client.post("/checks").status_code == 204
        assert carrier.waits_for("POST")


@pytest.mark.parametrize("kind", [Kind.DROP_RESPONSE, Kind.DUPLICATE, Kind.DELAY, Kind.TRUNCATE, Kind.LATE_DUPLICATE])
def test_a_fault_that_finds_nobody_waits_for_the_next_request(kind: Kind) -> None:
    with behind() as (carrier, client, _):
        carrier.tell(Disturbance(kind=kind, method="PUT"))
        with pytest.raises(httpx.RemoteProtocolError):
            client.put("/x", content=b"hang up")
        assert carrier.waits_for("PUT")
        assert not carrier.met


@pytest.mark.parametrize("kind", [Kind.DUPLICATE, Kind.LATE_DUPLICATE, Kind.DELAY])
def test_a_request_arrives_again_or_late(kind: Kind) -> None:
    with behind() as (carrier, client, came):
        carrier.tell(Disturbance(kind=kind, method="PUT", lasts_s=0.3))
        began = time.monotonic()
        assert client.put("/x", content=b"one").text == "answered"
        assert kind is not Kind.DELAY or time.monotonic() - began >= 0.3
        deadline = time.monotonic() + 30
        while len(came) < 2 and kind is not Kind.DELAY:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        while carrier.waits:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert came == [b"one"] * (1 if kind is Kind.DELAY else 2)
        assert carrier.met == {(kind, "PUT"): 1}
