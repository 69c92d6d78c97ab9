"""A person takes over from an inbox, answers, and gives the conversation back to the assistant."""

from luni import Memory, Session
from luni.testing import memory


def bot(session: Session) -> None:
    """Answer what waits; while a person has taken over, the turn is ``paused`` and nothing happens."""
    with session.turn() as turn:
        while turn.should_reply:
            turn.reply(f"Bot: {turn.messages[-1].text}?")


def inbox(store: Memory, tenant: str) -> None:
    """List the conversations that people look after."""
    for info in store.sessions(tenant, paused=True):
        print(f"{info.user}: with {info.paused_by}, because of {info.paused_reason}")


def main() -> None:
    """Run the example."""
    with memory() as store:
        session = store.session(tenant="barbearia", channel="whatsapp", user="5547999990000")
        session.receive("Quero meu dinheiro de volta", message_id="1")

        session.pause(by="carla", reason="reembolso")
        inbox(store, "barbearia")
        bot(session)  # stays silent
        session.append("human", "Aqui é a Carla. Devolvo hoje.")  # settles what came before
        session.receive("Obrigada! E tem horário amanhã?", message_id="2")  # waits

        session.resume()
        bot(session)  # answers what is still unsettled
        for message in session.messages():
            print(f"{message.role}: {message.text}")


if __name__ == "__main__":
    main()
