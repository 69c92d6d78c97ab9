from luni.testing.conformance.limits import *  # noqa: F403  the tests of this subject
