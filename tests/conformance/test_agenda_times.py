from luni.testing.conformance.agenda_times import *  # noqa: F403  the tests of this subject
