from luni.testing.conformance.exports import *  # noqa: F403  the tests of this subject
