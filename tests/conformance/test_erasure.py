import pytest

from luni.testing.conformance.erasure import *  # noqa: F403  the tests of this subject

KINDS = ("sqlite", "valkey", "redis", "cluster", "failover", "cluster-failover")
PLACES = [(mode, kind) for kind in KINDS for mode in ("sync", "async")]
pytestmark = pytest.mark.parametrize("store", PLACES, ids="-".join, indirect=True)
"""The same places as everywhere, and a Cluster with a fallback: what a host has of it goes, too."""
