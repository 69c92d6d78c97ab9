"""TLS on a Cluster: every node's certificate and name are verified, and nothing is said to one that fails it."""

from __future__ import annotations

import socket

import pytest
import trustme
from front import TlsFront

from conftest import require
from luni.errors import ConfigError, Unavailable
from luni.ops.doctor import examine
from luni.ops.redis_server import clients_at
from luni.ops.redis_status import status_of_all
from luni.settings import Settings
from luni.testing.clusters import Cluster
from luni.testing.servers import Server

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority, tmp_path_factory):
    """The authority, a client's certificate, and the one of somebody whom nobody knows."""
    folder = tmp_path_factory.mktemp("tls")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other-ca.pem")
    written(folder, "client", authority.issue_cert("luni@example.com"))
    return folder


def written(folder, name, certificate):
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
    return folder / f"{name}.pem"


def trusting(files, name="ca.pem", *, client=True):
    return {"tls_ca": str(files / name)} | ({"tls_cert": str(files / "client.pem")} if client else {})


class TlsCluster(Cluster):
    """A Cluster whose nodes speak TLS to each other, and to clients, of whom they want a certificate; plain to the test."""

    def __init__(self, files, certificate, *arguments):
        super().__init__("redis", *arguments)
        self._files, self._certificate = files, certificate
        self.tls_ports = []

    def _server(self):
        server = super()._server()
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.tls_ports.append(probe.getsockname()[1])
        pair = ("--tls-cert-file", str(self._certificate), "--tls-key-file", str(self._certificate))
        ours = ("--tls-port", str(self.tls_ports[-1]), "--tls-cluster", "yes", "--tls-replication", "yes")
        server._arguments += (*ours, *pair, "--tls-ca-cert-file", str(self._files / "ca.pem"))
        return server

    @property
    def encrypted(self):
        return f"rediss+cluster://{','.join(f'localhost:{port}' for port in self.tls_ports)}"


def supported():
    """Whether this machine's Redis can speak TLS: not every build can."""
    require("redis")
    try:
        with Server("redis", "--tls-port", "0", "--tls-cert-file", "/nowhere"):
            return True
    except RuntimeError:
        return False


@pytest.fixture(scope="module")
def cluster(authority, files):
    if not supported():
        pytest.skip("this redis-server was built without TLS")
    with TlsCluster(files, written(files, "node", authority.issue_cert(HOST, "localhost"))) as nodes:
        yield nodes


def use(run, memory):
    """Write to many slots, so to every node; look for all of it; erase it."""
    for number in range(12):
        session = memory.session(tenant="shop", channel="web", user=f"u{number}")
        turn = run(session.turn("hi", message_id="1").open())
        run(turn.reply("hello"))
    assert len(run(memory.sessions("shop")).items) == 12
    assert run(memory.erase("shop")).counts["sessions"] == 12


def test_a_cluster_over_tls(cluster, files, run, namespace):
    use(run, run.open(cluster.encrypted, namespace=namespace, **trusting(files)))
    settings = Settings(url=cluster.encrypted, **trusting(files))
    found = examine(settings)
    assert found.healthy
    assert found.store["nodes"] == [f"{HOST}:{port}" for port in cluster.tls_ports]
    clients = clients_at(cluster.encrypted, settings)
    assert [one.place for one in status_of_all("here", clients).nodes] == found.store["nodes"]
    for one in clients.values():
        one.close()


@pytest.mark.parametrize(
    ("ca", "client", "told"),
    [
        ("other-ca.pem", True, "CERTIFICATE_VERIFY_FAILED"),
        ("ca.pem", False, "REDIS_TLS_CERT"),
        ("missing.pem", True, "REDIS_TLS_CA"),
    ],
)
def test_who_is_not_trusted_is_told_so_and_nothing_is_executed(cluster, files, run, namespace, ca, client, told):
    before = [cluster.ask(one, "INFO", "commandstats").get("cmdstat_evalsha") for one in cluster.servers]
    memory = run.open(cluster.encrypted, namespace=namespace, max_retries=0, **trusting(files, ca, client=client))
    with pytest.raises(Unavailable, match=told):
        run(memory.session(tenant="shop", channel="web", user="ana").receive("hi", message_id="1"))
    assert [cluster.ask(one, "INFO", "commandstats").get("cmdstat_evalsha") for one in cluster.servers] == before


def test_nodes_that_call_each_other_by_name_need_certificates_for_names_only(authority, files, run, namespace):
    if not supported():
        pytest.skip("this redis-server was built without TLS")
    named = ("--cluster-announce-hostname", "localhost", "--cluster-preferred-endpoint-type", "hostname")
    certificate = written(files, "named", authority.issue_cert("localhost"))
    with TlsCluster(files, certificate, *named) as nodes:
        use(run, run.open(nodes.encrypted, namespace=namespace, **trusting(files)))
        for one in nodes.servers:
            nodes.ask(one, "CONFIG", "SET", "cluster-preferred-endpoint-type", "ip")
        with pytest.raises(Unavailable, match="IP address mismatch"):  # the map names addresses, the certificate does not
            use(run, run.open(nodes.encrypted, namespace=namespace, max_retries=0, **trusting(files)))


@pytest.fixture
def behind_doors(authority):
    """A plain Cluster of whatever server is here, each node behind a TLS door, which is what it calls its address."""
    require("valkey")
    with Cluster() as nodes:
        doors = [TlsFront(one, authority.issue_cert(HOST, "localhost"), clients=authority) for one in nodes.servers]
        for one, door in zip(nodes.servers, doors, strict=True):
            nodes.ask(one, "CONFIG", "SET", "cluster-announce-port", door.port)
        nodes.wait_until_whole()
        yield doors
        for door in doors:
            door.close()


@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_nothing_is_said_to_a_single_node_that_cannot_be_trusted(behind_doors, authority, files, run, namespace, wrong):
    url = f"rediss+cluster://localhost:{behind_doors[0].port},localhost:{behind_doors[1].port}"
    use(run, run.open(url, namespace=namespace, **trusting(files)))
    assert all(door.said > 0 for door in behind_doors)
    last = behind_doors[2]
    last.present(trustme.CA().issue_cert(HOST) if wrong == "authority" else authority.issue_cert("elsewhere.example.com"))
    last.cut()
    said, refused = last.said, 0
    memory = run.open(url, namespace=namespace, max_retries=0, **trusting(files))
    for number in range(12):
        try:
            run(memory.session(tenant=f"t{number}", channel="web", user="ana").receive("hi", message_id="1"))
        except Unavailable:
            refused += 1
    assert refused
    assert last.said == said
    last.present(authority.issue_cert(HOST))
    use(run, memory)


@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_nothing_is_said_where_no_node_can_be_trusted(behind_doors, authority, files, run, namespace, wrong):
    for door in behind_doors:
        door.present(
            trustme.CA().issue_cert(HOST, "localhost") if wrong == "authority" else authority.issue_cert("x.example.com")
        )
    url = f"rediss+cluster://{','.join(f'localhost:{door.port}' for door in behind_doors)}"
    memory = run.open(url, namespace=namespace, max_retries=0, **trusting(files))
    with pytest.raises(Unavailable):
        run(memory.session(tenant="shop", channel="web", user="ana").receive("hi", message_id="1"))
    assert [door.said for door in behind_doors] == [0, 0, 0]


def test_settings_of_tls_need_a_url_of_tls(files, run):
    with pytest.raises(ConfigError, match=r"rediss\+cluster"):
        run.open("redis+cluster://localhost:1", **trusting(files))
