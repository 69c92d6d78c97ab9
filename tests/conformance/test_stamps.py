from luni.testing.conformance.stamps import *  # noqa: F403  the tests of this subject
