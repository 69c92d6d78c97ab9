from luni.testing.conformance.repetitions import *  # noqa: F403  the tests of this subject
