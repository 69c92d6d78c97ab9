"""Which messages a prompt shows, and which may be folded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from luni.context import ESTIMATE, MESSAGE_OVERHEAD, assemble, foldable, message_tokens, select
from luni.context.tokens import TokenCounter
from luni.models import Message, ToolCall

LETTERS = TokenCounter("letters", len)


def chat(count, *, start=0):
    return [Message(f"message {at}", "user" if at % 2 == 0 else "assistant", arrival=at) for at in range(start, start + count)]


def call(*ids):
    return Message("", "assistant", tool_calls=tuple(ToolCall(name, "find") for name in ids))


def result(name):
    return Message("found", "tool", tool_call_id=name)


def shown(messages, *, current=1, limit=None, budget=None, fixed_tokens=0, counter=LETTERS, **options):
    return list(
        select(messages, current=current, limit=limit, budget=budget, fixed_tokens=fixed_tokens, counter=counter, **options)
    )


def test_messages_are_folded_ten_at_a_time():
    assert [foldable(chat(count), settled=99) for count in (0, 9, 10, 19, 20, 35)] == [0, 0, 10, 10, 20, 30]


def test_an_unanswered_message_is_never_folded():
    assert foldable(chat(20), settled=13) == 10
    assert foldable(chat(20), settled=7) == 0
    assert foldable(chat(20), settled=8) == 10


def test_only_users_messages_wait_for_an_answer():
    waiting = [Message("x", "human", arrival=50) for _ in range(10)]
    assert foldable(waiting, settled=0) == 10


def test_folding_goes_on_to_the_end_of_a_step():
    waiting = [*chat(9), call("a", "b"), result("a"), result("b"), *chat(5)]
    assert foldable(waiting, settled=99) == 12


def test_folding_stops_before_a_call_whose_result_is_still_in_the_window():
    waiting = [*chat(8), call("a"), Message("wait", "assistant")]
    assert foldable(waiting, settled=99, stored=[result("a")]) == 8


def test_folding_stops_before_a_call_whose_result_follows_an_unanswered_message():
    waiting = [*chat(8), call("a"), Message("", "assistant"), Message("new", arrival=100), result("a")]
    assert foldable(waiting, settled=99) == 8


def test_a_call_that_nobody_answered_does_not_stop_folding():
    assert foldable([*chat(9), call("a"), *chat(5)], settled=99) == 10


def test_an_id_used_again_belongs_to_the_newer_call():
    waiting = [call("a"), result("a"), *chat(7), call("a"), result("a"), *chat(2)]
    assert foldable(waiting, settled=99) == 11


def test_without_limits_everything_is_shown():
    messages = chat(21)
    assert shown(messages) == messages


def test_a_limit_leaves_out_whole_chunks():
    messages = chat(31)
    assert shown(messages, limit=20) == messages[10:]
    assert shown(messages, limit=25) == messages[10:]
    assert shown(messages, limit=30) == messages


def test_chunks_are_counted_from_the_sessions_first_message():
    messages = chat(31)
    assert shown(messages, limit=20, first_position=7) == messages[13:]


def test_the_beginning_stays_the_same_for_several_turns():
    session = chat(60)
    starts = [
        shown(session[max(0, end - 30) : end], limit=20, first_position=max(0, end - 30))[0].text for end in range(42, 50)
    ]
    assert starts == ["message 30"] * 8


def test_rounding_up_never_leaves_the_current_message_alone():
    messages = chat(8)
    assert shown(messages, limit=3) == messages[4:]


def test_a_limit_of_nothing_shows_the_current_messages():
    messages = chat(12)
    assert shown(messages, current=2, limit=0) == messages[10:]


def test_a_budget_counts_framing_and_what_is_fixed():
    messages = [Message("x" * 6) for _ in range(5)]
    assert len(shown(messages, budget=50)) == 5
    assert len(shown(messages, budget=49)) == 4
    assert len(shown(messages, budget=50, fixed_tokens=11)) == 3


def test_the_current_messages_stay_even_over_the_budget():
    messages = chat(12)
    assert shown(messages, current=2, budget=0) == messages[10:]


def test_results_go_with_their_call():
    messages = [Message("old"), call("a"), result("a"), Message("b", "assistant"), Message("now")]
    assert shown(messages, limit=2) == messages[3:]


def test_an_orphan_result_and_an_unfinished_call_are_not_shown():
    messages = [result("gone"), Message("hi"), call("a", "b"), result("a"), Message("now")]
    assert shown(messages) == [messages[1], messages[4]]


def test_a_call_that_ends_the_messages_is_shown():
    messages = [Message("hi"), call("a")]
    assert shown(messages, current=0) == messages


def test_a_current_result_keeps_its_call():
    messages = [*chat(5), call("a"), result("a")]
    assert shown(messages, current=1, limit=0) == messages[5:]


anything = st.lists(
    st.one_of(
        st.builds(Message, text=st.text(max_size=20), role=st.sampled_from(["user", "assistant", "human", "system"])),
        st.lists(st.sampled_from("abc"), min_size=1, max_size=2).map(lambda ids: call(*ids)),
        st.sampled_from("abcd").map(result),
    ),
    max_size=30,
)
optional = st.none() | st.integers(0, 60)


@given(anything, st.integers(0, 5), optional, optional, st.integers(0, 30))
def test_any_selection_keeps_the_current_messages_and_the_order(messages, current, limit, budget, first_position):
    def choose():
        return shown(messages, current=current, limit=limit, budget=budget, first_position=first_position)

    chosen = choose()
    assert chosen == choose()
    assert chosen[len(chosen) - min(current, len(messages)) :] == messages[max(0, len(messages) - current) :]
    left = iter(messages)
    assert all(any(message is other for other in left) for message in chosen)


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(0, 400), st.integers(0, 3), st.integers(0, 50))
def test_what_is_shown_is_within_the_budget_or_is_current_only(lengths, budget, current, first_position):
    messages = [Message("x" * length) for length in lengths]
    chosen = shown(messages, current=current, budget=budget, first_position=first_position)
    cost = sum(message_tokens(message, LETTERS) + MESSAGE_OVERHEAD for message in chosen)
    assert cost <= budget or len(chosen) <= current


@given(anything, st.integers(0, 30))
def test_folding_never_parts_a_step(messages, split):
    waiting, stored = messages[:split], messages[split:]
    count = foldable(waiting, settled=0, chunk=5, stored=stored)
    assert 0 <= count <= len(waiting)
    waits = {}
    for at, message in enumerate(messages):
        if message.role == "tool":
            owner = waits.pop(message.tool_call_id, None)
            assert owner is None or not owner < count <= at
        waits.update({made.id: at for made in message.tool_calls})


def test_assemble_counts_notes_messages_and_framing():
    messages = [Message("hello", tokens=10, counter="estimate-1"), Message("now", tokens=5, counter="estimate-1")]
    bare = assemble(summary="", focus="", messages=messages, current=1, history_tokens=100, history_messages=7)
    assert (bare.prompt_tokens, bare.full_history_tokens) == (10 + 5 + 2 * MESSAGE_OVERHEAD, 100 + 7 * MESSAGE_OVERHEAD)
    noted = assemble(summary="user: Ana", focus="booking", messages=messages, current=1, history_tokens=100, history_messages=7)
    rendered = noted.to_openai()
    notes = ESTIMATE.count(rendered[0]["content"]) + ESTIMATE.count(rendered[2]["content"]) + 2 * MESSAGE_OVERHEAD
    assert noted.prompt_tokens == bare.prompt_tokens + notes


def test_assemble_keeps_to_the_budget_with_its_notes():
    messages = chat(30)
    context = assemble(
        summary="user: Ana " * 5, focus="", messages=messages, current=1, history_tokens=0, history_messages=30, budget=150
    )
    assert context.prompt_tokens <= 150
    assert context.messages[-1] is messages[-1]
    assert context.current == 1
