"""What a reply stores, where it is placed, and what a model is shown of it."""

from __future__ import annotations

from luni import REMOVE, SessionUpdate, ToolCall, ToolResult
from luni.testing.conformance.store import Store, talk

STEPS = (
    ToolCall("c1", "find_slot", '{"day":"friday"}'),
    ToolCall("c2", "weather", "{}"),
    ToolResult("c1", "15:00 is free"),
    ToolResult("c2", "sunny"),
)


def test_several_texts_are_several_bubbles_in_order(store: Store) -> None:
    with store.session().turn("hi", message_id="1") as turn:
        stored = turn.reply("one", "two", "three", tags=["bot"])
    assert [m.text for m in stored] == ["one", "two", "three"]
    assert len({m.id for m in stored}) == 3
    assert [m.key for m in stored] == sorted(m.key for m in stored)
    assert store.session().messages()[1:] == stored
    assert {m.tags for m in stored} == {("bot",)}


def test_steps_are_stored_with_the_reply_and_come_before_it(store: Store) -> None:
    with store.session().turn("friday?", message_id="1") as turn:
        turn.reply("friday at 15:00", steps=STEPS)
    found = store.session().messages()
    assert [(m.role, m.text) for m in found] == [
        ("user", "friday?"), ("assistant", ""), ("tool", "15:00 is free"), ("tool", "sunny"), ("assistant", "friday at 15:00"),
    ]  # fmt: skip
    assert found[1].tool_calls == STEPS[:2]
    assert [m.tool_call_id for m in found[2:4]] == ["c1", "c2"]


def test_steps_are_rendered_in_pairs(store: Store) -> None:
    with store.session().turn("friday?", message_id="1") as turn:
        turn.reply("friday at 15:00", steps=STEPS)
    context = store.session().context()
    openai = [m for m in context.to_openai() if m["role"] in {"assistant", "tool"}]
    assert [call["id"] for call in openai[0]["tool_calls"]] == ["c1", "c2"]
    assert [m.get("tool_call_id") for m in openai[1:3]] == ["c1", "c2"]
    blocks = [block for m in context.to_anthropic()["messages"] if isinstance(m["content"], list) for block in m["content"]]
    used = [block["id"] for block in blocks if block["type"] == "tool_use"]
    assert used == [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"] == ["c1", "c2"]


def test_steps_alone_are_a_reply(store: Store) -> None:
    with store.session().turn("friday?", message_id="1") as turn:
        assert len(turn.reply(steps=STEPS)) == 3
    assert store.session().info().unanswered == 0


def test_a_second_delivery_gets_the_words_and_not_the_steps(store: Store) -> None:
    with store.session().turn("friday?", message_id="1") as turn:
        turn.reply("friday at 15:00", steps=STEPS)
    with store.session().turn("friday?", message_id="1") as again:
        assert [m.text for m in again.answer] == ["friday at 15:00"]


def test_steps_are_never_parted_whatever_leaves_the_window(store: Store) -> None:
    session = store.session()
    for number in range(30):
        with session.turn(f"u{number}", message_id=str(number)) as turn:
            for call in [m for m in turn.context.messages if m.tool_calls]:
                results = {m.tool_call_id for m in turn.context.messages if m.role == "tool"}
                assert {c.id for c in call.tool_calls} <= results
            calls = {c.id for m in turn.context.messages for c in m.tool_calls}
            assert {m.tool_call_id for m in turn.context.messages if m.role == "tool"} <= calls
            turn.reply(f"a{number}", steps=[ToolCall(f"c{number}", "look"), ToolResult(f"c{number}", "seen")])
    assert session.info().folded > 60


def test_a_reply_is_placed_after_its_cut(store: Store) -> None:
    with store.session().turn("one", message_id="1") as turn:
        store.session().receive("two", message_id="2")
        store.session().receive("three", message_id="3")
        turn.reply("re: one, first", "re: one, second")
        assert [m.text for m in turn.context.messages] == ["one", "re: one, first", "re: one, second", "two", "three"]
        assert turn.context.current == 2
        turn.reply("re: two and three")
    texts = [m.text for m in store.session().messages()]
    assert texts == ["one", "re: one, first", "re: one, second", "two", "three", "re: two and three"]


def test_a_reply_is_placed_after_its_cut_even_where_its_question_has_left_the_window(store: Store) -> None:
    with store.session().turn("one", message_id="1") as turn:
        for number in range(30):
            store.session().receive(f"w{number}", message_id=f"w{number}")
        turn.reply("re: one")
        assert [m.text for m in turn.messages] == [f"w{number}" for number in range(30)]
        assert [m.text for m in turn.context.messages] == ["one", "re: one", *[f"w{number}" for number in range(30)]]
        turn.reply("re: all")
    texts = [m.text for m in store.session().messages(limit=100)]
    assert texts[-3:] == ["w28", "w29", "re: all"]


def test_a_note_appended_during_the_work_stays_before_the_reply(store: Store) -> None:
    with store.session().turn("hi", message_id="1") as turn:
        store.session().append("system", "a regular customer")
        turn.reply("welcome back")
        assert not turn.should_reply
    assert [m.text for m in store.session().messages()] == ["hi", "a regular customer", "welcome back"]


def test_a_person_who_answers_during_the_work_settles_the_message_and_the_reply_still_counts(store: Store) -> None:
    with store.session().turn("hi", message_id="1") as turn:
        store.session().append("human", "I'll take this one")
        turn.reply("hello")
    assert [m.text for m in store.session().messages()] == ["hi", "I'll take this one", "hello"]
    assert store.session().info().unanswered == 0


def test_an_update_is_stored_with_the_reply(store: Store) -> None:
    session = store.session()
    session.update(SessionUpdate(metadata={"stage": "new", "gone": 1}))
    with session.turn("42 please", message_id="1") as turn:
        turn.reply(
            "noted", update=SessionUpdate(metadata={"stage": "sale", "gone": REMOVE}, variables={"size": 42}, focus="shoes")
        )
    info = session.info()
    assert info.metadata["stage"] == "sale"
    assert "gone" not in info.metadata
    assert info.variables == {"size": 42}
    assert info.focus == "shoes"
    assert info.revision == 2


def test_an_update_with_the_reply_keeps_what_others_changed_meanwhile(store: Store) -> None:
    with store.session().turn("hi", message_id="1") as turn:
        store.session().update(SessionUpdate(metadata={"theirs": 1}, variables={"theirs": 1}, focus="theirs"))
        turn.reply("hello", update=SessionUpdate(metadata={"mine": 1}, variables={"mine": 1}))
    info = store.session().info()
    assert {"theirs", "mine"} <= set(info.metadata)
    assert info.variables == {"theirs": 1, "mine": 1}
    assert info.focus == "theirs"


def test_a_reply_without_an_update_leaves_what_others_changed_meanwhile(store: Store) -> None:
    with store.session().turn("hi", message_id="1") as turn:
        store.session().update(SessionUpdate(metadata={"theirs": 1}, variables={"theirs": 1}))
        turn.reply("hello")
    info = store.session().info()
    assert info.metadata["theirs"] == 1
    assert info.variables == {"theirs": 1}


def test_the_focus_is_shown_to_the_next_turn(store: Store) -> None:
    session = store.session()
    with session.turn("shoes", message_id="1") as turn:
        turn.reply("which?", update=SessionUpdate(focus="running shoes"))
    with session.turn("red", message_id="2") as turn:
        assert turn.context.focus == "running shoes"
        openai = turn.context.to_openai(system="You sell shoes.")
        assert openai[0] == {"role": "system", "content": "You sell shoes."}
        assert not [m for m in openai[1:] if m["role"] == "system"]
        assert "running shoes" in str(openai)
        turn.reply("ok")


def test_a_person_who_took_over_is_shown_as_the_assistants_side(store: Store) -> None:
    session = store.session()
    talk(session, "hi")
    session.append("human", "Maria here, let me help")
    assert session.context().to_openai()[-1]["role"] == "assistant"
    assert session.messages()[-1].role == "human"
