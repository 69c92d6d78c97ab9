from luni.testing.conformance.identity import *  # noqa: F403  the tests of this subject
