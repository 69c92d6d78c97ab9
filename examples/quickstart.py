"""One conversation on embedded storage: a turn, a second delivery, and what the model may see."""

from luni import Memory


def ask_model(messages: list[dict[str, object]]) -> str:
    """Stand in for a model: your own call goes here."""
    return f"I was given {len(messages)} messages, the last one was: {messages[-1]['content']}"


def main() -> None:
    """Run the example."""
    with Memory.open("sqlite://") as memory:
        session = memory.session(tenant="barbearia", channel="whatsapp", user="5547999990000")

        with session.turn("Oi, tem horário amanhã às 15h?", message_id="SM90c6") as turn:
            while turn.should_reply:
                turn.reply(ask_model(turn.context.to_openai(system="You book appointments.")))

        with session.turn("Oi, tem horário amanhã às 15h?", message_id="SM90c6") as turn:
            print(f"second delivery: {turn.state}, answered with {len(turn.answer or ())} message")

        for message in session.messages():
            print(f"{message.role}: {message.text}")


if __name__ == "__main__":
    main()
