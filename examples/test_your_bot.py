"""How to test an assistant of your own: a memory with a clock you move by hand. Runs under pytest, and by itself."""

from luni import Memory
from luni.testing import FakeClock, memory


def bot(store: Memory, user: str, text: str, message_id: str) -> str | None:
    """Answer a message; the assistant under test."""
    session = store.session(tenant="shop", channel="web", user=user)
    with session.turn(text, message_id=message_id) as turn:
        while turn.should_reply:
            known = "again" if len(turn.context.messages) > 1 else "for the first time"
            turn.reply(f"Hello {known}, {user}!")
        return turn.answer[-1].text if turn.answer else session.messages()[-1].text


def test_a_second_delivery_gets_the_first_answer() -> None:
    """The provider delivers twice; the customer reads one answer."""
    with memory() as store:
        first = bot(store, "ana", "hi", "m1")
        assert bot(store, "ana", "hi", "m1") == first
        assert len(store.session(tenant="shop", channel="web", user="ana").messages()) == 2


def test_a_customer_is_forgotten_after_three_days() -> None:
    """No waiting: the clock is moved by hand."""
    clock = FakeClock()
    with memory(clock=clock) as store:
        assert bot(store, "ana", "hi", "m1") == "Hello for the first time, ana!"
        clock.advance(73 * 3600)
        assert bot(store, "ana", "hi", "m2") == "Hello for the first time, ana!"


if __name__ == "__main__":
    test_a_second_delivery_gets_the_first_answer()
    test_a_customer_is_forgotten_after_three_days()
    print("both tests pass")
