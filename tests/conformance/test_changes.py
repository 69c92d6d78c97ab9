from luni.testing.conformance.changes import *  # noqa: F403  the tests of this subject
