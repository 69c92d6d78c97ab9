"""TLS by ``rediss://``: the certificate and the host name are verified, and nothing is sent to a server that fails it."""

import asyncio
import gc
import socket
import ssl
import threading
import time
import warnings

import pytest
import trustme

from luni import AsyncMemory, Memory
from luni.errors import Unavailable


class TlsFront:
    """A TLS front door of a plain server, on a loopback port of its own; counts what clients said to it, decrypted."""

    def __init__(self, server, certificate, *, slow=0.0):
        self._slow = slow
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(self._context)
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.said = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain):
        try:
            client = self._context.wrap_socket(plain, server_side=True)
        except OSError:
            return plain.close()
        behind = socket.create_connection(("127.0.0.1", self._server.port))
        threading.Thread(target=self._pump, args=(behind, client), daemon=True).start()
        return self._pump(client, behind, count=True)

    def _pump(self, source, sink, *, count=False):
        try:
            while data := source.recv(65536):
                self.said += len(data) if count else 0
                sink.sendall(data)
        except OSError:
            pass
        finally:
            time.sleep(self._slow if count else 0)
            source.close()
            sink.close()

    def close(self):
        self._listener.close()


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def front(server, authority):
    door = TlsFront(server, authority.issue_cert("localhost"))
    yield door
    door.close()


def a_turn(url, namespace):
    with Memory.open(url, namespace=namespace, max_retries=0) as memory:
        session = memory.session(tenant="shop", channel="web", user="ana")
        with session.turn("hi", message_id="1") as turn:
            turn.reply("hello")
        return [message.text for message in session.messages()]


async def an_asynchronous_turn(url, namespace):
    async with AsyncMemory.open(url, namespace=namespace, max_retries=0) as memory:
        session = memory.session(tenant="shop", channel="web", user="ana")
        async with session.turn("hi", message_id="1") as turn:
            await turn.reply("hello")
        return [message.text for message in await session.messages()]


def run(mode, url, namespace):
    return a_turn(url, namespace) if mode == "sync" else asyncio.run(an_asynchronous_turn(url, namespace))


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_turn_over_tls_with_the_authority_that_is_trusted(front, authority, namespace, mode, tmp_path):
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    assert run(mode, f"rediss://localhost:{front.port}/0?ssl_ca_certs={trusted}", namespace) == ["hi", "hello"]
    assert front.said > 0


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_nothing_is_said_to_a_server_whose_authority_is_not_trusted(front, namespace, mode):
    with pytest.raises(Unavailable):
        run(mode, f"rediss://localhost:{front.port}/0", namespace)
    assert front.said == 0


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_nothing_is_said_to_a_server_of_another_name(server, authority, namespace, mode, tmp_path):
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    door = TlsFront(server, authority.issue_cert("elsewhere.example.com"))
    try:
        with pytest.raises(Unavailable):
            run(mode, f"rediss://localhost:{door.port}/0?ssl_ca_certs={trusted}", namespace)
        assert door.said == 0
    finally:
        door.close()


def test_the_connection_is_closed_before_the_loop_ends_however_slowly_the_server_says_goodbye(
    server, authority, namespace, tmp_path
):
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    door = TlsFront(server, authority.issue_cert("localhost"), slow=0.2)
    try:
        with warnings.catch_warnings(record=True) as left:
            warnings.simplefilter("always", ResourceWarning)
            run("async", f"rediss://localhost:{door.port}/0?ssl_ca_certs={trusted}", namespace)
            gc.collect()
        assert [str(one.message) for one in left if "transport" in str(one.message)] == []
    finally:
        door.close()
