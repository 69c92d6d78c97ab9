from luni.testing.conformance.bookings import *  # noqa: F403  the tests of this subject
