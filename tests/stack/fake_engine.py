"""A Docker engine for tests: it speaks the few requests of the API that slots need, over a Unix socket, and can fail."""

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


@dataclass
class FakeEngine:
    """Holds containers by name. `failure` is what every request but a ping of the socket itself is answered with."""

    socket: Path
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    failure: tuple[int, str] | None = None
    start_failure: tuple[int, str] | None = None
    _server: socketserver.BaseServer | None = None
    _streams: list["queue.Queue[str | None]"] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def up(self) -> None:
        engine = self

        class Handler(_Handler):
            owner = engine

        server = socketserver.ThreadingUnixStreamServer(str(self.socket), Handler)
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self._server = server

    def down(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
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
        owner.requests.append(f"{self.command} {self.path}")
        if owner.failure is not None:
            return self._send(owner.failure[0], {"message": owner.failure[1]})
        parts = urlsplit(self.path)
        path = [part for part in parts.path.split("/") if part and not part.startswith("v1.")]
        match path:
            case ["_ping"]:
                return self._send(200, "OK")
            case ["version"]:
                return self._send(200, {"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "fake"})
            case ["events"]:
                return self._stream()
            case ["containers", "json"]:
                listed = [{"Id": f"id-of-{name}", "Names": [f"/{name}"]} for name in owner.containers]
                return self._send(200, listed)
            case ["containers", name, action] if name in owner.containers:
                return self._act(name, action, parse_qs(parts.query))
        return self._send(404, {"message": f"No such container: {path[1:2]}"})

    def _act(self, name: str, action: str, query: dict[str, list[str]]) -> None:
        owner = self.owner
        running = owner.containers[name]["Running"]
        if action == "json":
            self._send(200, {"Id": f"id-of-{name}", "Name": f"/{name}", "State": owner.containers[name]})
        elif action == "start":
            if owner.start_failure is not None:
                return self._send(owner.start_failure[0], {"message": owner.start_failure[1]})
            owner.containers[name] = dict(RUNNING)
            self._send(304 if running else 204, None)
        elif action == "kill":
            if not running:
                return self._send(409, {"message": f"Container {name} is not running"})
            killed = query.get("signal") == ["SIGKILL"]
            if killed:
                owner.containers[name] = exited(137)
            self._send(204, None)
        else:
            self._send(404, {"message": "page not found"})
        return None

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
