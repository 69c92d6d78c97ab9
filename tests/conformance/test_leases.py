from luni.testing.conformance.leases import *  # noqa: F403  the tests of this subject
