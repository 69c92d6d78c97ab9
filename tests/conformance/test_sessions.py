from luni.testing.conformance.sessions import *  # noqa: F403  the tests of this subject
