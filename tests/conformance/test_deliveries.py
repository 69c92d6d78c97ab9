from luni.testing.conformance.deliveries import *  # noqa: F403  the tests of this subject
