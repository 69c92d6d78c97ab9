from luni.testing.conformance.exactly_once import *  # noqa: F403  the tests of this subject
