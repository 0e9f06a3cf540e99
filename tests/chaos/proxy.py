"""A proxy between API and worker that loses, repeats, delays and cuts off what it carries, when told to."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.chaos.disturbances import Disturbance, Kind

LONGEST_WAIT_S = 30.0


@dataclass(kw_only=True)
class Fault:
    """A disturbance that waits for the requests it is meant for."""

    told: Disturbance
    left: int


@dataclass(kw_only=True)
class Proxy:
    """Carries each request over a connection of its own; `port` is where the API finds the worker."""

    worker_port: int
    port: int = 0
    carried: int = 0
    """Requests that went through."""
    done: list[Kind] = field(default_factory=list)
    """Faults that met a request."""
    _faults: list[Fault] = field(default_factory=list)
    _late: set[asyncio.Task[None]] = field(default_factory=set)

    def tell(self, disturbance: Disturbance) -> None:
        """Spoil the next requests that the disturbance is meant for."""
        self._faults.append(Fault(told=disturbance, left=disturbance.times))

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: a request, its answer, and the end."""
        try:
            request = await _message(reader)
            answer = await self._spoilt(self._fault_for(request), request) if request else b""
            writer.write(answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # as a broken connection looks from the other side: no answer
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _fault_for(self, request: bytes) -> Disturbance | None:
        method = request.split(b" ", 1)[0].decode()
        for fault in self._faults:
            if fault.told.method == method:
                fault.left -= 1
                if fault.left <= 0:
                    self._faults.remove(fault)
                self.done.append(fault.told.kind)
                return fault.told
        return None

    async def _spoilt(self, told: Disturbance | None, request: bytes) -> bytes:
        """What the API gets to see."""
        match told.kind if told else None:
            case Kind.DROP_REQUEST:
                return b""
            case Kind.DROP_RESPONSE:
                await self._ask(request)
                return b""
            case Kind.DUPLICATE:
                first, _ = await asyncio.gather(self._ask(request), self._ask(request))
                return first
            case Kind.LATE_DUPLICATE:
                assert told is not None
                later = asyncio.create_task(self._ask_later(request, told.lasts_s))
                self._late.add(later)
                later.add_done_callback(self._late.discard)
            case Kind.DELAY:
                assert told is not None
                await asyncio.sleep(told.lasts_s)
            case Kind.TRUNCATE:
                answer = await self._ask(request)
                return answer[: answer.find(b"\r\n\r\n") + 4 + (len(answer) - answer.find(b"\r\n\r\n")) // 2]
        return await self._ask(request)

    async def _ask_later(self, request: bytes, after_s: float) -> None:
        await asyncio.sleep(after_s)
        with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            await self._ask(request)

    async def _ask(self, request: bytes) -> bytes:
        """The worker's answer, whole."""
        async with asyncio.timeout(LONGEST_WAIT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.worker_port)
            try:
                writer.write(request)
                await writer.drain()
                answer = await _message(reader)
            finally:
                writer.close()
        self.carried += 1
        return answer


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One HTTP message with its body, told to be the last on its connection; empty when nothing came."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return b""
    length = 0
    kept = []
    for line in head.rstrip(b"\r\n").split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        if name.lower() != b"connection":
            kept.append(line)
    assert b"transfer-encoding" not in head.lower(), "neither side sends chunks"
    body = await reader.readexactly(length)
    return b"\r\n".join([*kept, b"connection: close", b"", b""]) + body


@contextmanager
def proxy(worker_port: int) -> Iterator[Proxy]:
    """A proxy to a worker's port, on a thread of its own."""
    carrier = Proxy(worker_port=worker_port)
    loop = asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with await asyncio.start_server(carrier.carry, "127.0.0.1", 0) as server:
            carrier.port = server.sockets[0].getsockname()[1]
            started.set()
            await stop.wait()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="proxy")
    thread.start()
    assert started.wait(10), "the proxy did not start"
    try:
        yield carrier
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive(), "the proxy did not end"
        loop.close()
