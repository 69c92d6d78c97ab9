"""TLS by settings: the files, what happens when they are wrong or renewed, and that nothing switches the verification off."""

import contextlib
import datetime as dt
import ssl
import warnings

import pytest
import trustme
from front import TlsFront

from luni.errors import BackendError, ConfigError, Unavailable
from luni.testing.proxy import Proxy
from luni.testing.sentinels import Sentinels


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def trusted(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def door_of(server):
    opened = []

    def door(certificate, **options):
        opened.append(TlsFront(server, certificate, **options))
        return opened[-1]

    yield door
    for one in opened:
        one.close()


@pytest.fixture
def front(door_of, authority):
    return door_of(authority.issue_cert("localhost"))


def client_files(folder, certificate):
    cert, key = folder / "client.pem", folder / "client.key"
    certificate.cert_chain_pems[0].write_to_path(cert)
    certificate.private_key_pem.write_to_path(key)
    return {"tls_cert": str(cert), "tls_key": str(key)}


def opened(run, door, namespace, **settings):
    memory = run.open(f"rediss://localhost:{door.port}/0", namespace=namespace, max_retries=0, **settings)
    return memory.session(tenant="shop", channel="web", user="ana")


def past(days):
    return dt.datetime.now(dt.UTC) - dt.timedelta(days=days)


def texts(run, session):
    return [message.text for message in run(session.messages())]


def test_a_turn_with_the_authority_of_the_settings(run, front, trusted, namespace):
    session = opened(run, front, namespace, tls_ca=trusted)
    run(session.append("user", "hi"))
    assert texts(run, session) == ["hi"]


def test_nothing_is_said_to_a_server_whose_certificate_has_expired(run, door_of, authority, trusted, namespace):
    door = door_of(authority.issue_cert("localhost", not_before=past(9), not_after=past(1)))
    with pytest.raises(Unavailable, match="expired"):
        run(opened(run, door, namespace, tls_ca=trusted).append("user", "hi"))
    assert door.said == 0


def test_nothing_is_said_to_a_server_of_another_authority_than_the_one_set(run, front, tmp_path, namespace):
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        run(opened(run, front, namespace, tls_ca=str(tmp_path / "other.pem")).append("user", "hi"))
    assert front.said == 0


def test_nothing_is_said_in_the_clear(run, server, trusted, namespace, dump):
    with Proxy(server.port) as proxy:
        memory = run.open(
            f"rediss://ana:s3cret@127.0.0.1:{proxy.port}/0", namespace=namespace, max_retries=0, tls_ca=trusted, timeout=0.5
        )
        with pytest.raises(Unavailable):
            run(memory.session(tenant="shop", channel="web", user="ana").append("user", "hi"))
    assert dump(server, namespace) == {}
    with pytest.raises(ConfigError, match=r"REDIS_TLS_CA.*rediss://"):
        run.open(server.url, tls_ca=trusted)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_is_shown_to_who_asks_for_one(run, door_of, authority, trusted, namespace, tmp_path, newest):
    door = door_of(authority.issue_cert("localhost"), clients=authority, newest=newest)
    files = client_files(tmp_path, authority.issue_cert("worker"))
    session = opened(run, door, namespace, tls_ca=trusted, **files)
    run(session.append("user", "hi"))
    said = door.said
    with pytest.raises(Unavailable, match="REDIS_TLS_CERT"):  # and not Indeterminate: nothing was sent
        run(opened(run, door, namespace, tls_ca=trusted).append("user", "there"))
    assert door.said == said
    assert texts(run, session) == ["hi"]


def test_a_certificate_that_has_expired_is_renewed_without_a_restart(run, door_of, authority, trusted, namespace, tmp_path):
    door = door_of(authority.issue_cert("localhost"), clients=authority)
    files = client_files(tmp_path, authority.issue_cert("worker", not_before=past(9), not_after=past(1)))
    session = opened(run, door, namespace, tls_ca=trusted, **files)
    with pytest.raises(Unavailable, match=r"server does not accept.*client\.pem"):
        run(session.append("user", "hi"))
    client_files(tmp_path, authority.issue_cert("worker"))
    run(session.append("user", "hi"))
    assert texts(run, session) == ["hi"]


def test_an_authority_that_was_replaced_is_trusted_without_a_restart(run, front, trusted, namespace):
    session = opened(run, front, namespace, tls_ca=trusted)
    run(session.append("user", "hi"))
    successor = trustme.CA()
    front.present(successor.issue_cert("localhost"))
    front.cut()
    with contextlib.suppress(BackendError):  # it may meet the connection that was cut
        run(session.info())
    with pytest.raises(Unavailable):
        run(session.info())
    successor.cert_pem.write_to_path(trusted)
    run(session.append("user", "there"))
    assert texts(run, session)[-1] == "there"


@pytest.mark.parametrize("name", ["tls_ca", "tls_cert", "tls_key"])
@pytest.mark.parametrize("fault", ["missing", "garbage"])
def test_a_file_that_is_no_good_is_named_at_first_use(run, front, authority, trusted, namespace, tmp_path, name, fault):
    files = {"tls_ca": trusted} | client_files(tmp_path, authority.issue_cert("worker"))
    bad = tmp_path / "bad-one.pem"
    if fault == "garbage":
        bad.write_text("-----BEGIN NOTHING-----")
    session = opened(run, front, namespace, **files | {name: str(bad)})
    with pytest.raises(Unavailable, match=r"REDIS_TLS_\w+: .*bad-one\.pem"):
        run(session.append("user", "hi"))
    assert front.said == 0
    if name == "tls_ca":
        bad.write_bytes(authority.cert_pem.bytes())
        run(session.append("user", "hi"))


@pytest.mark.parametrize("run", ["async"], indirect=True)
@pytest.mark.parametrize(
    "option",
    [
        "ssl_cert_reqs=none", "ssl_cert_reqs=optional", "ssl_check_hostname=false", "ssl_min_version=770",
        "ssl_ciphers=ALL:@SECLEVEL=0", "ssl_exclude_verify_flags=VERIFY_X509_STRICT",
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["rediss://localhost/0", "valkeys://localhost/0", "rediss+sentinel://localhost/luni"])
def test_the_verification_cannot_be_switched_off(run, scheme, option):
    with pytest.raises(ConfigError, match=option.partition("=")[0]):
        run.open(f"{scheme}?{option}")


def test_a_server_that_speaks_only_old_tls_is_refused(run, door_of, authority, trusted, namespace):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        door = door_of(authority.issue_cert("localhost"), newest=ssl.TLSVersion.TLSv1_1)
        with pytest.raises(Unavailable):
            run(opened(run, door, namespace, tls_ca=trusted).append("user", "hi"))
    assert door.said == 0


@pytest.mark.parametrize("settings", [{"tls_key": "k.pem"}, {"tls_ca": 1}])
def test_settings_that_cannot_be_are_refused_at_open(run, settings):
    with pytest.raises(ConfigError, match="REDIS_TLS_"):
        run.open("rediss://localhost/0", **settings)


def test_sentinels_are_asked_over_tls_too(run, authority, trusted, namespace):
    """The primary that the Sentinel names has no TLS, so the way ends there: what counts is how the Sentinel was asked."""
    with Sentinels("valkey") as pair:
        door = TlsFront(pair.watchers[0], authority.issue_cert("127.0.0.1"))
        try:
            url = f"rediss+sentinel://127.0.0.1:{door.port}/{pair.name}"
            health = run(run.open(url, namespace=namespace, tls_ca=trusted).health())
            assert not health.ok
            assert door.said > 0, "the Sentinel was asked"
            assert "no Sentinel" not in health.detail, "and its answer was understood"
            said = door.said
            assert "no Sentinel" in run(run.open(url, namespace=namespace).health()).detail
            assert door.said == said
        finally:
            door.close()
