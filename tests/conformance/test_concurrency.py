from luni.testing.conformance.concurrency import *  # noqa: F403  the tests of this subject
