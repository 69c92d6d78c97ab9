from luni.testing.conformance.window import *  # noqa: F403  the tests of this subject
