from luni.testing.conformance.handles import *  # noqa: F403  the tests of this subject
