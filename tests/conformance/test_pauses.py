from luni.testing.conformance.pauses import *  # noqa: F403  the tests of this subject
