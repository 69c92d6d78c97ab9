"""TLS by ``rediss://``: the certificate and the host name are verified, and nothing is sent to a server that fails it."""

import asyncio
import gc
import warnings

import pytest
import trustme
from front import TlsFront

from luni import AsyncMemory, Memory
from luni.errors import Unavailable


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
