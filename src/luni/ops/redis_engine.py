"""A server in a container: the one seam to a Docker or Podman engine, through the ``docker`` package.

No such engine runs where luni is built: this is tested against a local server that speaks the engine's documented API on a unix
socket, and starts a real server for a container.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import redis

from luni.errors import Unavailable
from luni.ops.redis_server import Setup, client_of, configuration

__all__ = ["ContainerEngine"]

TIMEOUT = 60
API_VERSION = "1.41"
"""Docker 20.10 and Podman 3 have it, and every later one."""
CONFIG = "/etc/luni/server.conf"
SERVER_UID, SERVER_GID = 999, 1000
"""Who the server is in the official images: the file with the password is theirs alone."""
INSIDE_PORT = 6379
HEALTHY = f"REDISCLI_AUTH=$(sed -n 's/^requirepass //p' {CONFIG}) valkey-cli ping | grep -q PONG"
SECOND_NS = 1_000_000_000


class ContainerEngine:
    """Runs the server as a container with a named volume, published on loopback only."""

    kind: Literal["container"] = "container"

    def __init__(self, client: Any, socket: str) -> None:
        self._client, self.socket = client, socket

    @classmethod
    def found(cls) -> ContainerEngine | None:
        """Return the first engine that answers, ``None`` without one, or without the ``docker`` package."""
        for place in cls._places():
            try:
                return cls.connected(place)
            except Unavailable:
                continue
        return None

    @staticmethod
    def why_not() -> str:
        """Return a hint for somebody who wants one."""
        try:
            import docker  # noqa: F401, PLC0415  an extra
        except ImportError:
            return " (luni speaks to one with: pip install 'luni[docker]')"
        return ""

    @staticmethod
    def _places() -> list[str]:
        given = os.environ.get("DOCKER_HOST")
        run = os.environ.get("XDG_RUNTIME_DIR", "")
        own = [f"unix://{run}/docker.sock", f"unix://{run}/podman/podman.sock"] if run else []
        places = [given] if given else ["unix:///var/run/docker.sock", *own, "unix:///run/podman/podman.sock"]
        return [place for place in places if not place.startswith("unix://") or Path(place.removeprefix("unix://")).exists()]

    @classmethod
    def connected(cls, socket: str) -> ContainerEngine:
        """Return the engine at a socket; raise `Unavailable` if it does not answer."""
        try:
            import docker  # noqa: PLC0415  an extra
            import docker.errors  # noqa: PLC0415  the same
        except ImportError:
            raise Unavailable("the container engine needs an extra: pip install 'luni[docker]'") from None
        client = None
        try:
            client = docker.DockerClient(base_url=socket, timeout=TIMEOUT, version=API_VERSION)
            client.ping()
        except (docker.errors.DockerException, OSError) as error:
            if client is not None:
                client.close()
            raise Unavailable(f"the container engine at {socket} does not answer: {type(error).__name__}") from None
        return cls(client, socket)

    def close(self) -> None:
        """Let go of the connections to the engine."""
        self._client.close()

    @staticmethod
    def _name(setup: Setup) -> str:
        return f"luni-redis-{setup.id}"

    def prepared(self, setup: Setup, say: Callable[[str], None]) -> Setup:
        """Fetch the image if need be, make the volume and the container, and put the configuration into it."""
        self._do(lambda: self._fetch(setup.image, say))
        say("making the container and its volume")
        name, labels = self._name(setup), {"luni.setup": setup.id}
        self._do(lambda: self._client.volumes.create(name=name, labels=labels))
        container = self._do(
            lambda: self._client.containers.create(
                setup.image, command=["valkey-server", CONFIG], name=name, labels=labels,
                ports={f"{INSIDE_PORT}/tcp": ("127.0.0.1", setup.port)}, volumes={name: {"bind": "/data", "mode": "rw"}},
                restart_policy={"Name": "unless-stopped"},
                healthcheck={
                    "test": ["CMD-SHELL", HEALTHY], "interval": 10 * SECOND_NS, "timeout": 5 * SECOND_NS, "retries": 3,
                },
            )
        )  # fmt: skip
        self._put(container, setup)
        return msgspec.structs.replace(setup, program=setup.image, socket=self.socket)

    def _put(self, container: Any, setup: Setup) -> None:
        text = configuration(setup, bind="0.0.0.0", port=INSIDE_PORT, directory="/data")  # noqa: S104  within the container
        self._do(lambda: container.put_archive("/", _archive(text.encode())))

    def configure(self, setup: Setup) -> None:
        """Put the configuration into the container anew."""
        container = self._do(lambda: self._container(setup))
        if container is not None:
            self._put(container, setup)

    def _fetch(self, image: str, say: Callable[[str], None]) -> None:
        import docker.errors  # noqa: PLC0415  an extra

        try:
            self._client.images.get(image)
        except docker.errors.ImageNotFound:
            say(f"fetching {image}")
            self._client.images.pull(image)

    @staticmethod
    def _do(call: Callable[[], Any]) -> Any:
        import docker.errors  # noqa: PLC0415  an extra

        try:
            return call()
        except docker.errors.DockerException as error:
            raise Unavailable(f"the container engine refused: {str(error)[:200]}") from None

    def _container(self, setup: Setup) -> Any:
        """Return the container that setup made, ``None`` if it is gone; one of that name without its label is somebody's."""
        import docker.errors  # noqa: PLC0415  an extra

        try:
            found = self._client.containers.get(self._name(setup))
        except docker.errors.NotFound:
            return None
        return found if found.labels.get("luni.setup") == setup.id else None

    def start(self, setup: Setup) -> Setup:
        """Start the container."""
        container = self._do(lambda: self._container(setup))
        if container is None:
            raise Unavailable("the container that setup made is gone: luni redis cleanup, then setup again")
        self._do(container.start)
        return setup

    def alive(self, setup: Setup) -> bool:
        """Whether the container is running."""
        container = self._do(lambda: self._container(setup))
        return container is not None and container.status in {"running", "restarting"}

    def running(self, setup: Setup) -> bool:
        """Whether it is running and answers."""
        if not self.alive(setup):
            return False
        try:
            with client_of(setup) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def stop(self, setup: Setup) -> bool:
        """Stop the container."""
        container = self._do(lambda: self._container(setup))
        if container is None or container.status != "running":
            return False
        self._do(container.stop)
        return True

    def remove(self, setup: Setup) -> None:
        """Remove the container and the volume, if they are those that setup made."""
        import docker.errors  # noqa: PLC0415  an extra

        container = self._do(lambda: self._container(setup))
        if container is not None:
            self._do(container.remove)
        try:
            volume = self._client.volumes.get(self._name(setup))
        except docker.errors.NotFound:
            return
        if (volume.attrs.get("Labels") or {}).get("luni.setup") == setup.id:
            self._do(volume.remove)

    def logs(self, setup: Setup, *, lines: int, follow: bool) -> Iterator[str]:
        """Yield the last lines of its log, and with ``follow`` what comes."""
        container = self._do(lambda: self._container(setup))
        if container is None:
            return
        if not follow:
            yield from container.logs(tail=lines).decode("utf-8", "replace").splitlines()
            return
        for line in container.logs(tail=lines, stream=True, follow=True):
            yield line.decode("utf-8", "replace").rstrip("\n")


def _archive(text: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        folder = tarfile.TarInfo("etc/luni")
        folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, 0o500, SERVER_UID, SERVER_GID
        tar.addfile(folder)
        file = tarfile.TarInfo("etc/luni/server.conf")
        file.size, file.mode, file.uid, file.gid = len(text), 0o400, SERVER_UID, SERVER_GID
        tar.addfile(file, io.BytesIO(text))
    return packed.getvalue()
