from luni.testing.conformance.messages import *  # noqa: F403  the tests of this subject
