from luni.testing.conformance.states import *  # noqa: F403  the tests of this subject
