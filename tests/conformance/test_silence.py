from luni.testing.conformance.silence import *  # noqa: F403  the tests of this subject
