from luni.testing.conformance.sweeps import *  # noqa: F403  the tests of this subject
