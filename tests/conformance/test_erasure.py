from luni.testing.conformance.erasure import *  # noqa: F403  the tests of this subject
