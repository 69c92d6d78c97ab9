from luni.testing.conformance.booking_adoptions import *  # noqa: F403  the tests of this subject
