from luni.testing.conformance.guarded_writes import *  # noqa: F403  the tests of this subject
