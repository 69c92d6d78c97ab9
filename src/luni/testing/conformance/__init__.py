"""What every backend must do, as tests in plain calls against the public API.

luni runs this suite over its own backends, synchronous and asynchronous. A backend of your own runs it with one file:

```python
# tests/conftest.py
import pytest

pytest.register_assert_rewrite("luni.testing.conformance")  # failures that show values; before the import below


# tests/test_my_backend.py
import pytest
from luni.testing.conformance import *  # noqa: F403  every test
from luni.testing.conformance import Store


class MyStore(Store):
    def url(self): ...      # where its memories open: a new, empty place for each test
    def dump(self): ...     # everything that is stored there, as something that compares

@pytest.fixture(params=["sync", "async"])
def store(request):
    with MyStore(asynchronous=request.param == "async") as store:
        yield store
```

The suite asks for the one fixture ``store``: a `Store`, which opens any number of memories on the same place ("another
instance"), lets time pass, and looks at what is stored. What a store cannot do (say, spoil an item on purpose) it leaves
alone, and the tests that need it skip with that reason.

One subject may be run alone: ``from luni.testing.conformance.turns import *``.
"""

from luni.testing.conformance.agenda_times import *  # noqa: F403
from luni.testing.conformance.booking_adoptions import *  # noqa: F403
from luni.testing.conformance.booking_repetitions import *  # noqa: F403
from luni.testing.conformance.bookings import *  # noqa: F403
from luni.testing.conformance.bursts import *  # noqa: F403
from luni.testing.conformance.changes import *  # noqa: F403  the tests of a subject
from luni.testing.conformance.concurrency import *  # noqa: F403
from luni.testing.conformance.deliveries import *  # noqa: F403
from luni.testing.conformance.erasure import *  # noqa: F403
from luni.testing.conformance.exactly_once import *  # noqa: F403
from luni.testing.conformance.expiry import *  # noqa: F403
from luni.testing.conformance.exports import *  # noqa: F403
from luni.testing.conformance.guarded_writes import *  # noqa: F403
from luni.testing.conformance.handles import *  # noqa: F403
from luni.testing.conformance.identity import *  # noqa: F403
from luni.testing.conformance.imports import *  # noqa: F403
from luni.testing.conformance.leases import *  # noqa: F403
from luni.testing.conformance.limits import *  # noqa: F403
from luni.testing.conformance.lock_queues import *  # noqa: F403
from luni.testing.conformance.messages import *  # noqa: F403
from luni.testing.conformance.named_locks import *  # noqa: F403
from luni.testing.conformance.pauses import *  # noqa: F403
from luni.testing.conformance.repetitions import *  # noqa: F403
from luni.testing.conformance.replies import *  # noqa: F403
from luni.testing.conformance.sessions import *  # noqa: F403
from luni.testing.conformance.silence import *  # noqa: F403
from luni.testing.conformance.stamps import *  # noqa: F403
from luni.testing.conformance.states import *  # noqa: F403
from luni.testing.conformance.store import Store as Store
from luni.testing.conformance.sweeps import *  # noqa: F403
from luni.testing.conformance.turns import *  # noqa: F403
from luni.testing.conformance.window import *  # noqa: F403
