"""A voice message: stored when it comes, answered when its transcript is there."""

from luni import Attachment
from luni.testing import memory


def transcribe(url: str) -> str:
    """Stand in for speech recognition, which takes its time."""
    print(f"transcribing {url}")
    return "Tem horário amanhã às três?"


def main() -> None:
    """Run the example."""
    with memory() as store:
        session = store.session(tenant="barbearia", channel="whatsapp", user="5547999990000")
        voice = Attachment(kind="audio", url="https://files.example/voice.ogg", mime="audio/ogg")
        session.receive("", message_id="SM1", attachments=[voice])  # durable: now say 200

        session.amend("SM1", transcribe(str(voice.url)))  # in the background, perhaps in another process

        with session.turn() as turn:
            while turn.should_reply:
                turn.reply(f"I heard: {turn.messages[-1].text}")
        for message in session.messages():
            print(f"{message.role}: {message.text}")


if __name__ == "__main__":
    main()
