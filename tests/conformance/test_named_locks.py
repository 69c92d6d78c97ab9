from luni.testing.conformance.named_locks import *  # noqa: F403  the tests of this subject
