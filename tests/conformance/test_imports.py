from luni.testing.conformance.imports import *  # noqa: F403  the tests of this subject
