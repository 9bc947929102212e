"""A Docker engine for tests: it speaks what slots need of the API, over TCP or a Unix socket, and fails if told to."""

import contextlib
import json
import queue
import socketserver
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

CREATED = {"Status": "created", "Running": False, "ExitCode": 0, "OOMKilled": False}
RUNNING = {"Status": "running", "Running": True, "ExitCode": 0, "OOMKilled": False}


def exited(code: int, *, out_of_memory: bool = False) -> dict[str, Any]:
    return {"Status": "exited", "Running": False, "ExitCode": code, "OOMKilled": out_of_memory}


class _TCPServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True


class _UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False


@dataclass
class FakeEngine:
    """Holds containers by name. `failure` is what every request is answered with, `start_failure` every start.

    Where there is `wakes`, it answers nothing before that is set.
    """

    socket: Path | None = None
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    failure: tuple[int, str] | None = None
    start_failure: tuple[int, str] | None = None
    wakes: threading.Event | None = None
    _port: int = 0
    _server: socketserver.BaseServer | None = None
    _streams: list["queue.Queue[str | None]"] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self._port}" if self.socket is None else f"unix://{self.socket}"

    @property
    def is_down(self) -> bool:
        return self._server is None

    def up(self) -> None:
        engine = self

        class Handler(_Handler):
            owner = engine

        server: socketserver.TCPServer | socketserver.UnixStreamServer
        if self.socket is None:
            server = _TCPServer(("127.0.0.1", self._port), Handler)
            self._port = server.server_address[1]
        else:
            server = _UnixServer(str(self.socket), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self._server = server

    def down(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        if self.socket is not None:
            self.socket.unlink(missing_ok=True)
        self.end_streams()

    def say(self, action: str) -> None:
        """Sends an event to whoever listens."""
        for stream in self._streams:
            stream.put(action)

    def end_streams(self) -> None:
        for stream in self._streams:
            stream.put(None)
        self._streams.clear()

    @property
    def listeners(self) -> int:
        return len(self._streams)


class _Handler(BaseHTTPRequestHandler):
    owner: FakeEngine
    protocol_version = "HTTP/1.1"

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # whoever asked is gone
            super().handle()

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer()

    do_PUT = do_DELETE = do_PATCH = do_POST

    def _answer(self) -> None:
        owner = self.owner
        if owner.is_down:
            self.close_connection = True
            return
        owner.requests.append(f"{self.command} {self.path}")
        if (wakes := owner.wakes) is not None:
            wakes.wait(30)
        parts = urlsplit(self.path)
        path = [part for part in parts.path.split("/") if part and not part.startswith("v1.")]
        if owner.failure is not None:
            self._send(owner.failure[0], {"message": owner.failure[1]})
        elif path == ["events"]:
            self._stream()
        elif path[:1] == ["containers"] and len(path) == 3 and path[1] in owner.containers:
            self._act(path[1], path[2], parse_qs(parts.query))
        elif path in (["_ping"], ["version"], ["containers", "json"]):
            listed = [{"Id": f"id-of-{name}", "Names": [f"/{name}"]} for name in owner.containers]
            version = {"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "fake"}
            self._send(200, {"_ping": "OK", "version": version, "json": listed}[path[-1]])
        else:
            self._send(404, {"message": f"No such container: {path[1:2]}"})

    def _act(self, name: str, action: str, query: dict[str, list[str]]) -> None:
        owner = self.owner
        running = owner.containers[name]["Running"]
        if action == "json":
            self._send(200, {"Id": f"id-of-{name}", "Name": f"/{name}", "State": owner.containers[name]})
        elif action == "start" and owner.start_failure is not None:
            self._send(owner.start_failure[0], {"message": owner.start_failure[1]})
        elif action == "start":
            owner.containers[name] = dict(RUNNING)
            self._send(304 if running else 204, None)
        elif action == "kill" and not running:
            self._send(409, {"message": f"Container {name} is not running"})
        elif action == "kill":
            if query.get("signal") == ["SIGKILL"]:
                owner.containers[name] = exited(137)
            self._send(204, None)
        else:
            self._send(404, {"message": "page not found"})

    def _send(self, status: int, body: object) -> None:
        data = b"" if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _stream(self) -> None:
        stream: queue.Queue[str | None] = queue.Queue()
        self.owner._streams.append(stream)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while (action := stream.get()) is not None:
            line = json.dumps({"Type": "container", "Action": action}) + "\n"
            self.wfile.write(f"{len(line):x}\r\n{line}\r\n".encode())
        self.wfile.write(b"0\r\n\r\n")
