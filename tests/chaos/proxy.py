"""A proxy between API and worker that loses, repeats, delays and cuts off what it carries, when told to."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.chaos.disturbances import Deed, Disturbance, Kind

LONGEST_WAIT_S = 30.0
AGAIN_S = 0.2
"""Pause before a late repetition is tried again while the worker is away."""
NO_ANSWER = (OSError, asyncio.IncompleteReadError, TimeoutError)


@dataclass(kw_only=True)
class Fault:
    """A disturbance that waits for the requests it is meant for."""

    told: Disturbance
    left: int
    """How many requests it is still to be done to."""
    met: int = 0
    """How many it was done to, to the end."""


@dataclass(kw_only=True)
class Proxy:
    """Carries each request over a connection of its own; `port` is where the API finds the worker."""

    worker_port: int
    port: int = 0
    carried: int = 0
    """Requests that went through."""
    _faults: list[Fault] = field(default_factory=list)
    _late: set[asyncio.Task[None]] = field(default_factory=set)

    def tell(self, disturbance: Disturbance) -> None:
        """Spoil the next requests that the disturbance is meant for, whenever they come."""
        self._faults.append(Fault(told=disturbance, left=disturbance.times))

    @property
    def met(self) -> Counter[Deed]:
        """What was done, and how often."""
        count: Counter[Deed] = Counter()
        for fault in self._faults:
            count[fault.told.deed] += fault.met
        return +count

    @property
    def waits(self) -> bool:
        """Whether a fault has not been done as often as it was told, or is on its way."""
        return any(fault.met < fault.told.times for fault in self._faults)

    def waits_for(self, method: str) -> bool:
        """Whether a fault is yet to meet a request of that kind."""
        return any(fault.left > 0 and fault.told.method == method for fault in self._faults)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: a request, its answer, and the end."""
        try:
            request = await _message(reader)
            answer = await self._answer(request) if request else b""
            writer.write(answer)
            await writer.drain()
        except NO_ANSWER:
            pass  # as a broken connection looks from the other side: no answer
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, request: bytes) -> bytes:
        """What the API gets to see; a fault that finds the worker away waits for the next request."""
        fault = next((fault for fault in self._faults if fault.left > 0 and _is_meant(fault.told, request)), None)
        if fault is None:
            return await self._ask(request)
        fault.left -= 1
        try:
            answer = await self._spoilt(fault.told.kind, fault.told.lasts_s, request)
        except NO_ANSWER:
            fault.left += 1
            raise
        if fault.told.kind is Kind.LATE_DUPLICATE:
            later = asyncio.create_task(self._ask_later(fault, request))
            self._late.add(later)
            later.add_done_callback(self._late.discard)
        else:
            fault.met += 1
        return answer

    async def _spoilt(self, kind: Kind, lasts_s: float, request: bytes) -> bytes:
        match kind:
            case Kind.DROP_REQUEST:
                return b""
            case Kind.DROP_RESPONSE:
                await self._ask(request)
                return b""
            case Kind.DUPLICATE:
                first, _ = await asyncio.gather(self._ask(request), self._ask(request))
                return first
            case Kind.DELAY:
                await asyncio.sleep(lasts_s)
            case Kind.TRUNCATE:
                return _cut(await self._ask(request))
        return await self._ask(request)

    async def _ask_later(self, fault: Fault, request: bytes) -> None:
        await asyncio.sleep(fault.told.lasts_s)
        while True:
            try:
                await self._ask(request)
            except NO_ANSWER:
                await asyncio.sleep(AGAIN_S)
            else:
                fault.met += 1
                return

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
        if not answer:
            raise ConnectionResetError("The worker hung up.")
        self.carried += 1
        return answer


def _is_meant(told: Disturbance, request: bytes) -> bool:
    method, path, _ = request.split(b" ", 2)
    if method != told.method.encode():
        return False
    return method != b"POST" or path.partition(b"?")[0].endswith(b"/cancel")


def _cut(answer: bytes) -> bytes:
    """Half of the body; of an answer without one, half of the head."""
    body = answer.find(b"\r\n\r\n") + 4
    return answer[: (body + len(answer)) // 2] if len(answer) > body else answer[: body // 2]


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
