"""A container engine's API on a unix socket, as far as luni uses it; for a container it starts a real server.

Paths and bodies are those of the Docker Engine API (v1.43) reference; Podman speaks the same.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import socketserver
import struct
import subprocess
import tarfile
import tempfile
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from luni.testing.servers import binary


class Engine(socketserver.ThreadingUnixStreamServer):
    """Holds images, volumes and containers."""

    daemon_threads = True

    def __init__(self, path: Path, *, images: tuple[str, ...] = ()) -> None:
        super().__init__(str(path), Handler)
        self.images, self.volumes, self.containers = set(images), {}, {}
        self.calls: list[str] = []
        self.pulled: list[str] = []
        self._folder = Path(tempfile.mkdtemp(prefix="luni-engine-"))
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def run(self, container: dict[str, Any]) -> None:
        """Start what the container's configuration says, where its port is published."""
        ((published,),) = container["HostConfig"]["PortBindings"].values()
        assert published["HostIp"] == "127.0.0.1", "published beyond loopback"
        data = self._folder / container["Id"]
        data.mkdir(exist_ok=True)
        text = re.sub(r"(?m)^(bind|port|dir) .*$", "", container["files"]["etc/luni/server.conf"])
        config = data / "server.conf"
        config.write_text(f'{text}\nbind 127.0.0.1\nport {published["HostPort"]}\ndir "{data}"\n')
        container["log"] = data / "log"
        with container["log"].open("ab") as log:
            container["process"] = subprocess.Popen([binary("valkey"), str(config)], stdout=log, stderr=log)

    def close(self) -> None:
        for container in self.containers.values():
            stop(container)
        self.shutdown()
        self.server_close()


def stop(container: dict[str, Any]) -> None:
    process = container.pop("process", None)
    if process is not None:
        process.terminate()
        process.wait(10)


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    server: Engine

    def log_message(self, *_: Any) -> None:
        pass

    def address_string(self) -> str:
        return "unix"

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path = re.sub(r"^/v1\.\d+", "", url.path)
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size) if size else self._chunks()
        self.server.calls.append(f"{self.command} {path}")
        for method, pattern, function in ROUTES:
            found = re.fullmatch(pattern, path)
            if method == self.command and found:
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                status, answer = function(self.server, found, query, body)
                self._send(status, answer)
                return
        self._send(404, {"message": f"page not found: {path}"})

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _answer  # noqa: N815  as http.server calls them

    def _chunks(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return b""
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _send(self, status: int, answer: Any) -> None:
        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode() if answer is not None else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if isinstance(answer, bytes) else "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(raw)


def missing(what: str) -> tuple[int, Any]:
    return 404, {"message": f"no such {what}"}


def image(engine: Engine, found: Any, _query: Any, _body: Any) -> tuple[int, Any]:
    name = found[1]
    return (200, {"Id": f"sha256:{name}", "RepoTags": [name]}) if name in engine.images else missing("image")


def pull(engine: Engine, _found: Any, query: Any, _body: Any) -> tuple[int, Any]:
    name = f"{query['fromImage']}:{query.get('tag', 'latest')}"
    if "nowhere" in name:
        return 500, {"message": "the registry cannot be reached"}
    engine.images.add(name)
    engine.pulled.append(name)
    return 200, b'{"status":"Pull complete"}\n'


def make_volume(engine: Engine, _found: Any, _query: Any, body: bytes) -> tuple[int, Any]:
    asked = json.loads(body)
    engine.volumes[asked["Name"]] = {"Name": asked["Name"], "Labels": asked.get("Labels"), "Driver": "local"}
    return 201, engine.volumes[asked["Name"]]


def volume(engine: Engine, found: Any, _query: Any, _body: Any) -> tuple[int, Any]:
    return (200, engine.volumes[found[1]]) if found[1] in engine.volumes else missing("volume")


def drop_volume(engine: Engine, found: Any, _query: Any, _body: Any) -> tuple[int, Any]:
    return (204, None) if engine.volumes.pop(found[1], None) else missing("volume")


def make_container(engine: Engine, _found: Any, query: Any, body: bytes) -> tuple[int, Any]:
    made = json.loads(body) | {"Id": f"c{len(engine.containers)}" * 8, "Name": query["name"], "files": {}}
    engine.containers[query["name"]] = made
    return 201, {"Id": made["Id"], "Warnings": []}


def container_of(engine: Engine, key: str) -> Any:
    return next((one for name, one in engine.containers.items() if key in {name, one["Id"]}), None)


def container(engine: Engine, found: Any, _query: Any, _body: Any) -> tuple[int, Any]:
    one = container_of(engine, found[1])
    if one is None:
        return missing("container")
    process = one.get("process")
    running = process is not None and process.poll() is None
    return 200, {
        "Id": one["Id"], "Name": f"/{one['Name']}", "Image": "sha256:x",
        "State": {"Status": "running" if running else "exited"},
        "Config": {"Labels": one["Labels"], "Image": one["Image"], "Tty": False},
        "HostConfig": {"LogConfig": {"Type": "json-file"}},
    }  # fmt: skip


def put_archive(engine: Engine, found: Any, query: Any, body: bytes) -> tuple[int, Any]:
    assert query["path"] == "/"
    one = container_of(engine, found[1])
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        for member in tar:
            if member.isfile():
                one["files"][member.name] = tar.extractfile(member).read().decode()
                one.setdefault("modes", {})[member.name] = (member.mode, member.uid)
    return 200, None


def start_container(engine: Engine, found: Any, _query: Any, _body: Any) -> tuple[int, Any]:
    engine.run(container_of(engine, found[1]))
    return 204, None


def stop_container(engine: Engine, found: Any, _query: Any, _body: Any) -> tuple[int, Any]:
    stop(container_of(engine, found[1]))
    return 204, None


def drop_container(engine: Engine, found: Any, _query: Any, _body: Any) -> tuple[int, Any]:
    one = container_of(engine, found[1])
    if one is None:
        return missing("container")
    stop(one)
    del engine.containers[one["Name"]]
    return 204, None


def container_logs(engine: Engine, found: Any, query: Any, _body: Any) -> tuple[int, Any]:
    one = container_of(engine, found[1])
    lines = one["log"].read_bytes().splitlines(keepends=True) if "log" in one else []
    tail = lines if query.get("tail", "all") == "all" else lines[-int(query["tail"]) :]
    return 200, b"".join(struct.pack(">BxxxL", 1, len(line)) + line for line in tail)


ROUTES = [
    ("GET", "/_ping", lambda *_: (200, b"OK")),
    ("GET", "/version", lambda *_: (200, {"ApiVersion": "1.43", "MinAPIVersion": "1.24", "Version": "24.0"})),
    ("GET", "/images/(.+)/json", image),
    ("POST", "/images/create", pull),
    ("POST", "/volumes/create", make_volume),
    ("GET", "/volumes/([^/]+)", volume),
    ("DELETE", "/volumes/([^/]+)", drop_volume),
    ("POST", "/containers/create", make_container),
    ("GET", "/containers/([^/]+)/json", container),
    ("PUT", "/containers/([^/]+)/archive", put_archive),
    ("POST", "/containers/([^/]+)/start", start_container),
    ("POST", "/containers/([^/]+)/stop", stop_container),
    ("DELETE", "/containers/([^/]+)", drop_container),
    ("GET", "/containers/([^/]+)/logs", container_logs),
]
