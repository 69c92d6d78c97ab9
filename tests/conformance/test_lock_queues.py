from luni.testing.conformance.lock_queues import *  # noqa: F403  the tests of this subject
