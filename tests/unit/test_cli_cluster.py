"""The terminal's commands on a Cluster: its status node by node, the doctor, erasing and exporting."""

import pytest
from test_cli import alone, luni, told  # noqa: F401  fixtures

from luni import Memory
from luni.testing.clusters import Cluster
from luni.testing.servers import available

PASSWORD = "canary-of-a-password"


@pytest.fixture(scope="module")
def cluster():
    if not available("valkey"):
        pytest.skip("there is no valkey server here")
    with Cluster("valkey", "--appendonly", "yes", "--maxmemory", "100mb") as nodes:
        yield nodes


@pytest.fixture
def url(cluster, luni):  # noqa: F811
    with Memory.open(cluster.url) as memory:
        for number in range(30):
            memory.session(tenant="shop", channel="web", user=f"u{number}").receive("hi", message_id="1")
        memory.session(tenant="other", channel="web", user="u1").receive("hi", message_id="1")
    yield cluster.url
    for tenant in ("shop", "other"):
        assert luni("erase", tenant, "--yes", "--url", cluster.url)[0] == 0


def test_status_shows_every_primary_and_their_sum(luni, cluster, url):  # noqa: F811
    status, out, _ = luni("redis", "status", "--url", url, "--json")
    found = told(out)
    assert status == 0
    assert {one["place"] for one in found["nodes"]} == {f"127.0.0.1:{one.port}" for one in cluster.servers}
    for name in ("keys", "memory_bytes", "memory_limit_bytes", "connected_clients", "evicted_keys", "hits", "misses"):
        assert found[name] == sum(one[name] for one in found["nodes"]), name
    assert all(one["keys"] > 0 for one in found["nodes"])
    assert (found["keys"], found["memory_limit_bytes"]) == (
        sum(cluster.ask(one, "DBSIZE") for one in cluster.servers),
        300 << 20,
    )
    assert (found["append_only_file"], found["eviction"], found["kind"]) == (True, "noeviction", "cluster")
    status, out, _ = luni("redis", "status", "--url", url)
    assert status == 0
    assert out.count("append-only file") == 4
    assert "at the fullest" in out


def test_status_tells_the_weakest_of_what_differs(luni, cluster, url):  # noqa: F811
    one = cluster.servers[1]
    cluster.ask(one, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "appendonly", "no", "maxmemory", "0")
    try:
        found = told(luni("redis", "status", "--url", url, "--json")[1])
    finally:
        cluster.ask(one, "CONFIG", "SET", "maxmemory-policy", "noeviction", "appendonly", "yes", "maxmemory", "100mb")
    assert (found["eviction"], found["append_only_file"]) == ("allkeys-lru, noeviction", False)
    assert found["memory_limit_bytes"] == 0


def test_a_password_is_every_nodes_and_is_shown_nowhere(luni):  # noqa: F811
    with Cluster() as nodes:
        for one in nodes.servers:
            nodes.ask(one, "CONFIG", "SET", "requirepass", PASSWORD)
        url = nodes.url.replace("//", f"//:{PASSWORD}@")
        for command in (("redis", "status"), ("doctor",)):
            status, out, err = luni(*command, "--url", url)
            assert status == 0
            assert PASSWORD not in out + err
            assert luni(*command, "--url", nodes.url)[0] == 3
        nodes.servers[2].stop()
        status, out, err = luni("redis", "status", "--url", url)
        assert (status, out) == (3, "")
        assert f"127.0.0.1:{nodes.servers[2].port} does not answer" in err
        assert luni("doctor", "--url", url)[0] == 3


def test_status_of_no_cluster_is_one_line(luni, cluster):  # noqa: F811
    status, _, err = luni("redis", "status", "--url", "redis+cluster://127.0.0.1:1,127.0.0.1:2")
    assert status == 3
    assert err.count("\n") == 1
    assert luni("redis", "status", "--url", "redis+cluster://a/name")[0] == 2
    assert luni("redis", "status", "--url", f"redis+cluster://127.0.0.1:1,127.0.0.1:{cluster.port}")[0] == 0


def test_the_doctor_names_the_nodes(luni, cluster, url):  # noqa: F811
    status, out, _ = luni("doctor", "--url", url)
    assert status == 0
    assert ", ".join(f"127.0.0.1:{one.port}" for one in cluster.servers) in out.replace("\n", " ").replace("  ", "")
    assert told(luni("doctor", "--url", url, "--json")[1])["store"]["mode"] == "cluster"


def test_a_person_is_exported_and_erased(luni, url):  # noqa: F811
    status, out, _ = luni("export", "shop", "u1", "--url", url)
    assert status == 0
    assert out.count("\n") == 1
    status, out, _ = luni("erase", "shop", "u1", "--yes", "--url", url)
    assert status == 0
    assert out.startswith("Erased: 1 session, 1 message, 1 message id.\n")
    assert luni("export", "shop", "u1", "--url", url)[1] == ""
    assert luni("export", "shop", "--url", url)[1].count("\n") == 29
    assert luni("export", "other", "--url", url)[1].count("\n") == 1
