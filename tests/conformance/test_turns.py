from luni.testing.conformance.turns import *  # noqa: F403  the tests of this subject
