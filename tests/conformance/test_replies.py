from luni.testing.conformance.replies import *  # noqa: F403  the tests of this subject
