"""A proxy between a client and a store, with delays, cut connections and injected errors.

    python -m tests.stores.proxy PORT_OF_STORE MILLISECONDS

prints the port of a relay that delays both directions by half of the milliseconds.
"""

import asyncio
import http.client
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


@dataclass
class Fault:
    """A fault in place of the store's response: a `status` and a `body`, or a cut connection.

    `after` cuts the answer, `cut_request` the request: the store never gets all of it.
    `lost` passes the request to the store, and cuts before the response.
    """

    status: int = 0
    body: str = ""
    after: int | None = None
    cut_request: bool = False
    lost: bool = False
    headers: dict[str, str] = field(default_factory=dict)


Rule = Callable[[str, str], Fault | None]  # of the method and the path with its query


class FaultyStore:
    """A proxy on 127.0.0.1 that asks `rule` about each request; `seen` are the requests."""

    def __init__(self, store: str, rule: Rule) -> None:
        self.seen: list[tuple[str, str]] = []
        self._running: list[int] = []
        members = {"store": store, "rule": [rule], "seen": self.seen, "running": self._running}
        handler = type("Handler", (_Handler,), members)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def busiest(self) -> int:
        """The most requests at once."""
        most = now = 0
        for step in self._running:
            now += step
            most = max(most, now)
        return most

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: ClassVar[str]
    rule: ClassVar[list[Rule]]  # in a list, or it would be a method
    seen: ClassVar[list[tuple[str, str]]]
    running: ClassVar[list[int]]  # 1 as a request begins, -1 as it ends

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # the client has gone
            self.close_connection = True

    def log_message(self, *words: object) -> None:
        pass

    def _answer(self) -> None:
        self.running.append(1)
        try:
            self._relay()
        finally:
            self.running.append(-1)

    def _relay(self) -> None:
        self.seen.append((self.command, self.path))
        fault = self.rule[0](self.command, self.path)
        if fault and fault.cut_request:
            self.rfile.read(min(1, int(self.headers.get("Content-Length") or 0)))
            self._cut()
            return
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault and fault.status:
            self.send_response(fault.status)
            for item in fault.headers.items():
                self.send_header(*item)
            self.send_header("Content-Length", str(len(fault.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(fault.body.encode())
            return
        upstream = http.client.HTTPConnection(self.store)
        upstream.request(self.command, self.path, data or None, dict(self.headers.items()))
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        if fault and fault.lost:
            self._cut()
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        length = len(content) if self.command != "HEAD" else answer.getheader("Content-Length", "0")
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if fault and fault.after is not None:
            self.wfile.write(content[: fault.after])
            self._cut()
            return
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _answer

    def _cut(self) -> None:
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True


class Delay:
    """A relay on 127.0.0.1 to a port of it, with so many seconds each way."""

    def __init__(self, port: int, seconds: float) -> None:
        self._target, self._seconds = port, seconds
        self._loop = asyncio.new_event_loop()
        started = self._loop.create_task(self._start())
        self.port: int = self._loop.run_until_complete(started)
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    async def _start(self) -> int:
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0, limit=1 << 22)
        return int(server.sockets[0].getsockname()[1])

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target, limit=1 << 22)
        await asyncio.gather(self._pipe(reader, back), self._pipe(there, writer))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def send() -> None:
            while True:
                due, data = await waiting.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                if not data:
                    break
                writer.write(data)
                await writer.drain()
            writer.close()

        sending = asyncio.create_task(send())
        try:
            while data := await reader.read(1 << 20):
                waiting.put_nowait((self._loop.time() + self._seconds, data))
        except OSError:
            pass
        waiting.put_nowait((self._loop.time(), b""))
        with suppress(OSError):  # the other side has gone
            await sending


if __name__ == "__main__":
    relay = Delay(int(sys.argv[1]), float(sys.argv[2]) / 2000)
    print(relay.port, flush=True)
    threading.Event().wait()
