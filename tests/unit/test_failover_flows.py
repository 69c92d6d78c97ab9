"""Where an operation goes, and how the journal catches up, step by step: flows driven with plain values, no I/O."""

import msgspec
import pytest

from luni import operations as ops
from luni import wire
from luni.backends.failover.deciding import MEETINGS, Ask, Locally, catching_up, executing
from luni.backends.failover.driving import driven, driven_together
from luni.backends.failover.entries import Entry
from luni.backends.failover.healing import healing
from luni.backends.failover.merging import merged
from luni.errors import Damaged, Degraded, Indeterminate, InvalidInput, SlotTaken, Unavailable
from luni.models import Address, Message

ANA = Address("shop", "web", "ana")
BOB = Address("shop", "web", "bob")
NOW = 1_700_000_000_000
TTL = 3_600_000
WHO = {"address": ANA, "writer": "w", "seq": 1, "session_id": "s", "ttl_ms": TTL}
DRAFT = ops.Draft(wire.body(Message(text="hi", id="m1", tokens=1)), 1, wire.message_digest("m1"))
AWAY = Unavailable("connection refused")
UNKNOWN = Indeterminate("sent, and no answer came")


def refused():
    """The server itself says no: it is there."""
    error = Unavailable("OOM")
    error.answered = True
    return error


class Judge:
    """Knows what a test tells it, and remembers what it is told."""

    def __init__(self, *, away=False, waits=False, patient=True, closed=False, here=(), dead=()):
        self._away, self._waits, self._patient, self._closed, self._here = away, waits, patient, closed, here
        self._dead = dict(dead)
        self.failures, self.answers = [], []

    def away(self):
        return self._away

    def waits(self, _address):
        return self._waits

    def holds(self, lease):
        return lease.address in self._here

    def failed(self, error, seconds):
        self.failures.append(error)
        return self._patient and not error.answered and seconds < 1

    def dead_letters(self, address):
        return self._dead.get(address, 0)

    def bookings_closed(self):
        return self._closed

    def expects(self, met):
        return met.generation != "another"

    def noted(self, operation, result):
        self.answers.append((operation, result))


def drive(flow, *answers):
    """Answer a flow's steps in turn; return the steps, and what comes of it: a result or an error."""
    steps, left = [], list(answers)
    try:
        step = next(flow)
        while True:
            steps.append(step)
            answer = left.pop(0)
            step = flow.throw(answer) if isinstance(answer, Exception) else flow.send(answer)
    except StopIteration as end:
        assert not left, "there were fewer steps than answers"
        return steps, end.value
    except (LookupError, AssertionError):
        raise
    except Exception as error:  # noqa: BLE001  what comes of it is the test's business
        assert not left, "there were fewer steps than answers"
        return steps, error


def receive(**more):
    return ops.Receive(**(WHO | more), draft=DRAFT, fresh=True)


def opening(outage="answer", draft=DRAFT):
    return ops.Open(**WHO, draft=draft, lease_ms=1, fresh=True, nonce="x", outage=outage)


HELD = ops.Lease(ANA, "w.1.x", 1, 60_000)


# where an operation goes


def test_what_the_primary_answers_is_the_answer_and_is_noted():
    judge = Judge()
    steps, result = drive(executing(judge, receive()), "done")
    assert (steps, result) == ([Ask(receive())], "done")
    assert judge.answers == [(receive(), "done")]
    assert judge.failures == []


@pytest.mark.parametrize("error", [AWAY, UNKNOWN])
def test_a_lost_connection_is_tried_once_more_and_then_this_host_goes_on_with_the_same_operation(error):
    judge = Judge()
    steps, result = drive(executing(judge, receive()), error, error, "here")
    assert (steps, result) == ([Ask(receive())] * 2 + [Locally(receive())], "here")
    assert judge.failures == [error, error]
    assert judge.answers == [], "what was done here is no answer of the primary"


def test_the_second_attempt_may_do():
    assert drive(executing(Judge(), receive()), UNKNOWN, "done") == ([Ask(receive())] * 2, "done")


def test_a_refusal_by_the_server_itself_is_not_tried_again():
    steps, result = drive(executing(Judge(), receive()), refused(), "here")
    assert (steps, result) == ([Ask(receive()), Locally(receive())], "here")


def test_a_call_that_took_long_is_not_tried_again():
    ticks = iter([0.0, 5.0])
    steps, _ = drive(executing(Judge(), receive(), lambda: next(ticks)), UNKNOWN, "here")
    assert steps == [Ask(receive()), Locally(receive())]


def test_while_the_primary_is_known_to_be_away_it_is_not_asked():
    assert drive(executing(Judge(away=True), receive()), "here") == ([Locally(receive())], "here")


def test_the_breaker_may_open_between_two_attempts():
    judge = Judge()
    flow = executing(judge, receive())
    assert next(flow) == Ask(receive())
    judge._away = True
    assert flow.throw(AWAY) == Locally(receive())


@pytest.mark.parametrize("error", [InvalidInput("too long"), Damaged("not JSON"), SlotTaken("taken")])
def test_an_error_of_the_operation_itself_is_the_caller_s_and_never_journaled(error):
    judge = Judge()
    assert drive(executing(judge, receive()), error) == ([Ask(receive())], error)
    assert judge.failures == []


def test_what_cannot_be_journaled_is_not_acknowledged():
    full = Unavailable("the disk is full")
    _, result = drive(executing(Judge(away=True), receive()), full)
    assert result is full


def test_what_cannot_be_journaled_and_may_have_happened_stays_what_may_have_happened():
    _, result = drive(executing(Judge(), receive()), UNKNOWN, AWAY, Unavailable("the disk is full"))
    assert result is UNKNOWN


def test_what_comes_behind_something_that_waits_queues_behind_it():
    judge = Judge(waits=True)
    assert drive(executing(judge, receive()), "here") == ([Locally(receive())], "here")
    assert drive(executing(judge, ops.Read(address=ANA)), "here") == ([Locally(ops.Read(address=ANA))], "here")


def test_operations_of_no_session_do_not_queue():
    listing = ops.Tenants(limit=1)
    assert drive(executing(Judge(waits=True), listing), "listed") == ([Ask(listing)], "listed")


def test_erasing_asks_the_primary_alone():
    erase = ops.Erase(address=ANA, session_id="s", before_ms=NOW, fresh_id="f")
    assert drive(executing(Judge(away=True, waits=True), erase), "gone") == ([Ask(erase)], "gone")


# the three modes of an outage


def test_answering_opens_the_turn_here():
    assert drive(executing(Judge(away=True), opening()), "turn") == ([Locally(opening())], "turn")


def accepted(state, arrival, settled):
    view = msgspec.convert(
        {"session_id": "s", "created_ms": 1, "activity_ms": 1, "metadata": b"", "context": b"", "summary": "", "focus": "",
         "paused": False, "token_est": 0, "n": arrival, "settled": settled, "count": 1, "tokens": 1, "folded": 0, "rev": 0},
        ops.View,
    )  # fmt: skip
    return ops.Opened(state, session_id="s", now_ms=NOW, arrival=arrival, view=view)


def test_accepting_stores_the_message_and_stays_silent():
    stored = accepted("accepted", 1, 0)
    steps, result = drive(executing(Judge(away=True), opening("accept")), stored)
    assert (steps, result) == ([Locally(receive())], stored)


def test_a_second_delivery_of_what_was_accepted_is_accepted_and_of_what_was_answered_a_duplicate():
    for settled, state in ((0, "accepted"), (1, "duplicate")):
        _, result = drive(executing(Judge(away=True), opening("accept")), accepted("duplicate", 1, settled))
        assert result.state == state


def test_accepting_nothing_does_nothing():
    steps, result = drive(executing(Judge(away=True), opening("accept", draft=None)))
    assert (steps, result.state, result.degraded) == ([], "idle", True)


def test_refusing_stores_nothing():
    steps, result = drive(executing(Judge(away=True), opening("refuse")))
    assert steps == []
    assert isinstance(result, Degraded)


def test_what_may_have_happened_is_no_refusal():
    steps, result = drive(executing(Judge(), opening("refuse")), UNKNOWN, AWAY)
    assert (steps, result) == ([Ask(opening("refuse"))] * 2, UNKNOWN)
    _, result = drive(executing(Judge(), opening("refuse")), AWAY, AWAY)
    assert isinstance(result, Degraded)


def test_the_modes_are_those_of_an_outage():
    for outage in ("accept", "refuse"):
        assert drive(executing(Judge(), opening(outage)), "turn") == ([Ask(opening(outage))], "turn")


# what one host cannot promise


def booking():
    return ops.Cancel(
        tenant="shop", writer="w", seq=1, id="b1", shares=(), grace_ms=0, guard="", token=None, replicas=0, replicas_ms=0
    )


def test_what_this_host_cannot_promise_is_degraded():
    refusal = Degraded("nobody here can promise that")
    _, result = drive(executing(Judge(away=True), ops.Tenants(limit=1)), refusal)
    assert result is refusal


def test_what_may_have_happened_is_not_degraded_but_a_read_is():
    refusal = Degraded("nobody here can tell")
    _, result = drive(executing(Judge(), receive()), UNKNOWN, AWAY, refusal)
    assert result is UNKNOWN
    _, result = drive(executing(Judge(), ops.Read(address=ANA)), UNKNOWN, AWAY, refusal)
    assert result is refusal


def test_nobody_books_on_a_server_that_has_lost_data():
    change = booking()
    assert isinstance(change, ops.Change)
    steps, result = drive(executing(Judge(closed=True), change))
    assert steps == []
    assert isinstance(result, Degraded)
    assert "luni bookings reconcile" in str(result)
    steps, result = drive(executing(Judge(), change), ops.Acquainted("known", ""), "cancelled")
    assert (steps[1:], result) == ([Ask(change)], "cancelled")


def test_nobody_books_on_a_server_that_was_not_looked_at():
    """It may be back empty: what it has lost could be the booking that is in the way."""
    steps, result = drive(executing(Judge(), booking()), ops.Acquainted("another", ""))
    assert [type(step.operation) for step in steps] == [ops.Acquaint]
    assert isinstance(result, Degraded)
    steps, result = drive(
        executing(Judge(patient=True), booking()), ops.Acquainted("known", ""), UNKNOWN, ops.Acquainted("another", "")
    )
    assert result is UNKNOWN, "it may have happened: that is not a refusal"


# what the primary has refused for good


def test_what_shows_a_session_says_that_something_of_it_is_dead():
    judge, shown = Judge(dead={ANA: 2}), accepted("accepted", 1, 0)
    for away, place in ((False, Ask), (True, Locally)):
        judge._away = away
        steps, result = drive(executing(judge, opening()), shown)
        assert isinstance(steps[0], place)
        assert result == msgspec.structs.replace(shown, view=msgspec.structs.replace(shown.view, dead_letters=2))
    judge._away = False
    assert drive(executing(judge, receive(address=BOB)), shown)[1] == shown
    assert drive(executing(judge, receive()), "no view")[1] == "no view"


def test_a_list_of_sessions_says_of_which_something_is_dead():
    view = accepted("accepted", 1, 0).view
    inspect = ops.Inspect(addresses=(BOB, ANA, ANA))
    _, result = drive(executing(Judge(dead={ANA: 1}), inspect), ops.Inspected((view, view, None)))
    assert [one and one.dead_letters for one in result.views] == [0, 1, None]


# renewing


def test_leases_are_renewed_where_they_were_given_and_told_in_their_order():
    here, there = msgspec.structs.replace(HELD, address=BOB), HELD
    judge = Judge(here=(BOB,))
    renew = ops.Renew(leases=(there, here, there))
    steps, result = drive(executing(judge, renew), ops.Renewed((True,)), ops.Renewed((False, True)))
    assert steps == [Locally(ops.Renew(leases=(here,))), Ask(ops.Renew(leases=(there, there)))]
    assert result.held == (False, True, True)
    assert judge.answers == [(ops.Renew(leases=(there, there)), ops.Renewed((False, True)))]


def test_whether_the_primary_s_leases_are_held_nobody_can_tell_while_it_is_away():
    assert drive(executing(Judge(away=True), ops.Renew(leases=(HELD,)))) == ([], ops.Renewed((None,)))
    judge = Judge()
    steps, result = drive(executing(judge, ops.Renew(leases=(HELD, HELD))), UNKNOWN)
    assert (len(steps), result.held, judge.failures) == (1, (None, None), [UNKNOWN])


# catching up


def entry(seq=1, at=NOW, operation=None):
    operation = operation or receive(seq=seq, writer="w")
    return Entry(operation=operation, at_ms=at, clock_ms=at, stamp_ms=at, expire_ms=at + TTL)


class Tombstone(msgspec.Struct):
    ms: int


def dumped(state=None, version="v1"):
    return ops.Dumped(NOW + 1, version, state or ops.State())


STORED, _ = merged(ops.State(), [entry()], NOW + 1)
TOMB, DUMP = ops.Tombstones(tenant="shop", user="ana"), ops.Dump(address=ANA)


def restore(state, version="v1", former=""):
    return ops.Restore(address=ANA, state=state, version=version, former=former)


def test_entries_are_merged_into_what_the_primary_has_under_a_compare():
    steps, result = drive(catching_up(ANA, [entry()]), Tombstone(0), dumped(), True, Tombstone(0))
    assert [step.operation for step in steps] == [TOMB, DUMP, restore(STORED), TOMB]
    assert result == (STORED, ("replayed",))


def test_what_is_there_already_is_not_written():
    steps, result = drive(catching_up(ANA, [entry()]), Tombstone(0), dumped(STORED))
    assert len(steps) == 2
    assert result == (STORED, ("known",))


def test_whoever_changes_the_session_meanwhile_is_merged_with():
    answers = (Tombstone(0), dumped(), False, Tombstone(0), dumped(STORED, "v2"))
    steps, result = drive(catching_up(ANA, [entry()]), *answers)
    assert len(steps) == len(answers)
    assert result == (STORED, ("known",))


def test_a_session_that_changes_all_the_time_is_left_for_later():
    steps, result = drive(catching_up(ANA, [entry()]), *(Tombstone(0), dumped(), False) * MEETINGS)
    assert len(steps) == 3 * MEETINGS
    assert isinstance(result, Unavailable)


def test_an_entry_refused_for_good_has_a_reason_and_holds_nobody_up():
    patch = ops.Patch("", b'{"a": 1}', keys=("a",))
    bad = entry(2, operation=ops.Update(**(WHO | {"seq": 2}), fresh=True, metadata=patch))
    spoilt = msgspec.structs.replace(STORED, metadata=b"[not an object]")
    last = entry(3, NOW + 5, receive(seq=3, writer="w2"))
    last = msgspec.structs.replace(
        last, operation=msgspec.structs.replace(last.operation, draft=msgspec.structs.replace(DRAFT, digest="d2"))
    )
    flow = catching_up(ANA, [bad, last])
    _, (state, outcomes) = drive(flow, Tombstone(0), dumped(spoilt), True, Tombstone(0))
    assert outcomes[0].startswith("Damaged")
    assert outcomes[1] == "replayed"
    assert state.n == 2


def test_what_has_expired_revives_nothing():
    old = msgspec.structs.replace(entry(), expire_ms=NOW - 5)
    steps, result = drive(catching_up(ANA, [old]), Tombstone(0), dumped())
    assert (len(steps), result) == (2, (ops.State(), ("expired",)))


def test_what_was_said_before_an_erasure_is_left_out_here_and_there():
    for here, there in ((NOW, 0), (0, NOW)):
        _, result = drive(catching_up(ANA, [entry()], here), Tombstone(there), dumped())
        assert result == (ops.State(), ("erased",))


def test_who_is_erased_while_it_is_written_back_goes_again():
    erase = Tombstone(NOW + 9)
    steps, result = drive(
        catching_up(ANA, [entry()]), Tombstone(0), dumped(), True, erase, ops.Met("s2"), "gone", erase, dumped()
    )
    asked = [step.operation for step in steps]
    assert [type(one) for one in asked[4:6]] == [ops.Erase, ops.Erase]
    assert (asked[4].session_id, asked[5].session_id) == ("s", "s2")
    assert result == (ops.State(), ("erased",))


def test_ending_ends_the_session_that_was_there_then():
    end = entry(2, NOW + 5, ops.End(address=ANA, session_id="s"))
    steps, result = drive(catching_up(ANA, [end]), Tombstone(0), dumped(STORED), True)
    assert steps[-1] == Ask(ops.End(address=ANA, session_id="s"))
    assert (result[0].session_id, result[1]) == ("", ("replayed",))


def test_a_failure_while_catching_up_is_the_replayer_s():
    for answers in ((AWAY,), (Tombstone(0), AWAY), (Tombstone(0), dumped(), UNKNOWN)):
        _, result = drive(catching_up(ANA, [entry()]), *answers)
        assert result is answers[-1]


# healing


def test_a_primary_that_lacks_nothing_is_left_alone():
    steps, result = drive(healing(ANA, STORED), Tombstone(0), dumped(STORED))
    assert (len(steps), result) == (2, None)


def test_a_primary_that_is_empty_gets_the_mirror():
    steps, result = drive(healing(ANA, STORED), Tombstone(0), dumped(), True)
    assert steps[-1].operation.state == result
    assert (result.session_id, result.window) == ("s", STORED.window)


def test_healing_meets_others_and_gives_up_when_they_are_faster():
    _, result = drive(healing(ANA, STORED), Tombstone(0), dumped(), False, Tombstone(0), dumped(STORED))
    assert result is None, "somebody else has healed it"
    _, result = drive(healing(ANA, STORED), *(Tombstone(0), dumped(), False) * MEETINGS)
    assert isinstance(result, Unavailable)


def test_nobody_who_was_erased_is_healed():
    steps, result = drive(healing(ANA, STORED), Tombstone(NOW))
    assert (len(steps), result) == (1, None)


def test_what_waits_in_the_journal_is_not_lacking():
    _, result = drive(healing(ANA, STORED, {"w.1"}), Tombstone(0), dumped())
    assert result is None


class Primary:
    """Answers each operation with its address, or with what it is to fail with; remembers what it was asked together."""

    def __init__(self, failing=()):
        self.failing, self.asked = dict(failing), []

    def execute(self, operation):
        self.asked.append([operation.address.user])
        return self._answer(operation)

    def _answer(self, operation):
        if operation.address.user in self.failing:
            raise self.failing[operation.address.user]
        return operation.address.user


class Pipelining(Primary):
    def execute_all(self, operations):
        self.asked.append([operation.address.user for operation in operations])
        if "everybody" in self.failing:
            raise self.failing["everybody"]
        return [self.failing.get(operation.address.user, operation.address.user) for operation in operations]


def asking(user, times):
    """A flow that asks so many times."""
    heard = ""
    for _ in range(times):
        heard += yield Ask(ops.Read(address=Address("shop", "web", user)))
    return heard


def test_flows_side_by_side_ask_together_and_end_each_in_its_time():
    primary = Pipelining()
    assert driven_together(primary, [asking("a", 2), asking("b", 0), asking("c", 3)]) == ["aa", "", "ccc"]
    assert primary.asked == [["a", "c"], ["a", "c"], ["c"]]


@pytest.mark.parametrize("kind", [Primary, Pipelining])
def test_what_one_flow_fails_with_is_its_own(kind):
    broken = Damaged("unreadable")
    assert driven_together(kind({"b": broken}), [asking("a", 2), asking("b", 2), asking("c", 1)]) == ["aa", broken, "c"]
    with pytest.raises(Damaged):
        driven(kind({"b": broken}), asking("b", 1))


def test_a_primary_that_is_away_is_not_waited_for_by_each_flow():
    primary = Primary({"b": AWAY})
    assert driven_together(primary, [asking("a", 2), asking("b", 1), asking("c", 1)]) == ["aa", AWAY, AWAY]
    assert primary.asked == [["a"], ["b"], ["a"]]
    assert driven_together(Pipelining({"everybody": AWAY}), [asking("a", 2), asking("b", 1)]) == [AWAY, AWAY]
