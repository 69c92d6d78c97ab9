from luni.testing.conformance.booking_repetitions import *  # noqa: F403  the tests of this subject
