"""A sweeper: answers what dead workers left unanswered and sends what they left unsent. Run as many as you like."""

from luni import Memory, Policy
from luni.testing import FakeClock, memory


def ask_model(messages: list[dict[str, object]]) -> str:
    """Stand in for a model: your own call goes here."""
    return f"You said: {messages[-1]['content']}"


def send(user: str, text: str, *, idempotency_key: str) -> None:  # noqa: ARG001  the provider's
    """Stand in for a provider; one that knows idempotency keys drops what it has sent before."""
    print(f"to {user}: {text}")


def sweep(store: Memory) -> None:
    """Go on where workers stopped. Call it every few seconds."""
    for waiting in store.unanswered(older_than=30):
        with waiting.session.turn() as turn:
            while turn.should_reply:
                if turn.attempt > 3:
                    turn.skip("three workers died of it")
                else:
                    turn.reply(ask_model(turn.context.to_openai()))
    for unsent in store.unsent(older_than=30):
        send(unsent.user, unsent.message.text, idempotency_key=unsent.message.id)
        unsent.session.mark_sent(unsent.message.id)


def main() -> None:
    """Run the example: one worker dies before it answers, one between its reply and the provider."""
    clock = FakeClock()
    with memory(clock=clock, policies={"*": Policy(outbox=True)}) as store:
        ana = store.session(tenant="barbearia", channel="whatsapp", user="ana")
        ana.turn("Oi", message_id="1").open()  # nobody closes it: its worker is dead
        rui = store.session(tenant="barbearia", channel="whatsapp", user="rui")
        with rui.turn("Tem horário?", message_id="2") as turn:
            turn.reply("Sim, às 15h.")  # stored, and never sent

        clock.advance(61)  # the dead worker's lease ends
        sweep(store)  # sends to rui, answers ana
        clock.advance(61)
        sweep(store)  # sends to ana
        clock.advance(61)
        print(f"{len(store.unanswered())} unanswered, {len(store.unsent())} unsent")


if __name__ == "__main__":
    main()
