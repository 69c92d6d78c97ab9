from luni.testing.conformance.expiry import *  # noqa: F403  the tests of this subject
