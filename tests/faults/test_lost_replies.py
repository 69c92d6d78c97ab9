"""The server executes and its reply is lost: one effect, and the very answer an undisturbed call gets."""

from __future__ import annotations

import pytest
from deeds import DEEDS, UNPROMISED, ended, state
from outages import caught_up, reaches

from luni.backends.redis.scripts import SCRIPTS
from luni.errors import Degraded, Indeterminate, Unavailable

pytestmark = pytest.mark.usefixtures("no_pauses")


def begun(deed, run, memory, address):
    """Return a session this memory has met, and the turn opened in it if the deed needs one."""
    session = memory.session(**address)
    return session, deed.prepare(run, session)


def expected(deed, run, memory, address):
    session, prepared = begun(deed, run, memory, address)
    return deed.act(run, session, prepared), state(run, session)


@pytest.mark.parametrize("lost", [1, 2, 3])
@pytest.mark.parametrize("name", DEEDS)
def test_a_lost_reply_leaves_one_effect_and_the_right_answer(each_server, proxy_to, run, namespace, somebody, name, lost):
    deed, proxy = DEEDS[name], proxy_to(each_server)
    direct = run.open(each_server.url, namespace=namespace)
    through = run.open(proxy.url, namespace=namespace)
    session, prepared = begun(deed, run, through, somebody())
    proxy.match(SCRIPTS[deed.script].sha, times=lost)

    answer = deed.act(run, session, prepared)

    assert proxy.matches > lost, "the fault was not met"
    assert (answer, state(run, session)) == expected(deed, run, direct, somebody())


@pytest.mark.parametrize("name", ["reply", "reply-kept", "skip"])
def test_repeating_a_reply_after_indeterminate_gives_one_effect(each_server, proxy_to, run, namespace, somebody, name):
    deed, proxy = DEEDS[name], proxy_to(each_server)
    direct = run.open(each_server.url, namespace=namespace)
    through = run.open(proxy.url, namespace=namespace)
    session, prepared = begun(deed, run, through, somebody())
    proxy.match(SCRIPTS[deed.script].sha, times=4)
    with pytest.raises(Indeterminate):
        deed.act(run, session, prepared)
    assert prepared.should_reply, "nobody knows yet: the turn must stay open to the same call"

    answer = deed.act(run, session, prepared)

    assert (answer, state(run, session)) == expected(deed, run, direct, somebody())


def test_another_reply_after_indeterminate_is_not_stored_beside_the_first(server, proxy_to, run, namespace, somebody):
    proxy = proxy_to(server)
    session = run.open(proxy.url, namespace=namespace).session(**somebody())
    turn = run(session.turn("hello", message_id="m1").open())
    proxy.match(SCRIPTS["reply"].sha, times=4)
    with pytest.raises(Indeterminate):
        run(turn.reply("the first"))

    with pytest.raises(Exception, match="nothing was stored"):
        run(turn.reply("the second"))

    assert [m.text for m in run(session.messages())] == ["hello", "the first"]


@pytest.mark.parametrize("name", sorted(set(DEEDS) - {"append-folding"}))  # there the fold is done and the append is not
def test_when_retries_are_exhausted_the_call_says_that_it_cannot_tell(server, proxy_to, run, namespace, somebody, name):
    deed, proxy = DEEDS[name], proxy_to(server)
    direct = run.open(server.url, namespace=namespace)
    through = run.open(proxy.url, namespace=namespace, max_retries=1)
    session, prepared = begun(deed, run, through, somebody())
    proxy.match(SCRIPTS[deed.script].sha, times=2)

    with pytest.raises(Indeterminate):
        deed.act(run, session, prepared)

    _, undisturbed = expected(deed, run, direct, somebody())
    assert state(run, direct.session(tenant="shop", channel="web", user=session.user)) == undisturbed


@pytest.mark.parametrize("name", ["open", "reply", "append", "update"])
def test_a_request_that_never_arrives_is_sent_again(server, proxy_to, run, namespace, somebody, name):
    deed, proxy = DEEDS[name], proxy_to(server)
    direct = run.open(server.url, namespace=namespace)
    through = run.open(proxy.url, namespace=namespace, timeout=0.15, max_retries=1)
    session, prepared = begun(deed, run, through, somebody())
    proxy.drop("requests")

    with pytest.raises((Indeterminate, Unavailable)):
        deed.act(run, session, prepared)

    proxy.reset()
    proxy.passing()
    if name == "reply":  # the other calls, repeated, are new operations
        assert deed.act(run, session, prepared) == expected(deed, run, direct, somebody())[0]
    else:
        assert run(direct.session(tenant="shop", channel="web", user=session.user).info()) == (
            run(session.info()) if name in {"append", "update"} else None
        )


@pytest.mark.parametrize("name", ["open", "reply", "append", "update", "end"])
def test_replies_swallowed_one_way_end_within_the_budget(server, proxy_to, run, namespace, somebody, name):
    deed, proxy = DEEDS[name], proxy_to(server)
    direct = run.open(server.url, namespace=namespace)
    through = run.open(proxy.url, namespace=namespace, timeout=0.15, max_retries=1)
    session, prepared = begun(deed, run, through, somebody())
    proxy.drop("replies")

    with pytest.raises(Indeterminate):
        deed.act(run, session, prepared)

    proxy.reset()
    proxy.passing()
    assert run(session.info()) == run(direct.session(tenant="shop", channel="web", user=session.user).info())


def test_slow_replies_are_waited_for(server, proxy_to, run, namespace, somebody):
    proxy = proxy_to(server)
    session = run.open(proxy.url, namespace=namespace).session(**somebody())
    proxy.delay(0.05)
    turn = run(session.turn("hello", message_id="m1").open())
    run(turn.reply("hi"))
    assert proxy.connections == 1
    assert [m.text for m in run(session.messages())] == ["hello", "hi"]


def test_a_lost_reply_of_a_release_still_releases(server, proxy_to, run, namespace, somebody):
    proxy, address = proxy_to(server), somebody()
    session = run.open(proxy.url, namespace=namespace).session(**address)
    turn = run(session.turn("hello", message_id="m1").open())
    proxy.match(SCRIPTS["release"].sha)
    run(turn.close())
    again = run(session.turn("hello", message_id="m1").open())
    assert (again.state, again.attempt) == ("open", 2)


@pytest.mark.parametrize("name", DEEDS)
def test_lost_replies_in_a_row_leave_one_effect_with_a_fallback(
    server, proxy_to, run, namespace, somebody, fallback, soon, name
):
    """Up to ten: those of the call, then of whatever tries to catch up. What counts is on the server afterwards."""
    deed, proxy = DEEDS[name], proxy_to(server)
    direct = run.open(server.url, namespace=namespace)
    through = run.open(proxy.url, namespace=namespace, fallback=fallback, **soon)
    session, prepared = begun(deed, run, direct, somebody())
    deed.act(run, session, prepared)
    ended(run, prepared)
    undisturbed = state(run, session)
    for lost in range(1 if run.kind == "sync" else 2, 11, 2):
        session, prepared = begun(deed, run, through, somebody())
        proxy.match(SCRIPTS[deed.script].sha if lost < 3 else b"EVALSHA", times=lost)
        try:
            deed.act(run, session, prepared)
            done = True
        except (Degraded, Indeterminate):
            assert name in UNPROMISED, "the journal would have taken it"
            done = False
        reaches(lambda: proxy.matches > lost, 0.1)  # noqa: B023
        assert proxy.matches, "the fault was not met"
        proxy.passing()
        ended(run, prepared)
        assert caught_up(through, run)
        if not done:  # the caller does it again
            deed.act(run, session, prepared)
        assert state(run, direct.session(tenant="shop", channel="web", user=session.user)) == undisturbed, lost
