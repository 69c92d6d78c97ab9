from luni.testing.conformance.bursts import *  # noqa: F403  the tests of this subject
