"""An assistant that negotiates a slot with two customers at once, and cannot double-book.

Whatever the model says, nothing is booked by a sentence: the program holds a slot before it is offered as yours, and confirms
the hold when the customer says yes. Of two who want the same slot, one gets it; the other is offered what is still free.
"""

import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from zoneinfo import ZoneInfo

from luni import Agenda, Memory, Session, SessionUpdate
from luni.errors import HoldExpired, SlotTaken

ZONE = ZoneInfo("America/Sao_Paulo")
DAY = datetime(2031, 5, 6, tzinfo=ZONE)
OPEN, CLOSE, LENGTH = DAY.replace(hour=14), DAY.replace(hour=18), timedelta(hours=1)


def offers(carla: Agenda) -> str:
    """Say what is free."""
    free = carla.free(OPEN, CLOSE, duration=LENGTH, step=LENGTH)
    return ", ".join(f"{slot.start.astimezone(ZONE):%Hh}" for slot in free) or "nothing today"


def answer(carla: Agenda, session: Session, text: str) -> tuple[str, dict[str, str]]:
    """Decide what to say, and what to remember. A model may word it; it does not decide what is booked."""
    info = session.info()
    held = info.variables.get("held") if info else None
    wanted = re.search(r"(\d{1,2})h", text)
    if held and re.search(r"\b(sim|yes|pode)\b", text.lower()):
        try:
            booking = carla.confirm(held)
        except HoldExpired:
            return f"That took too long, I am sorry. Still free: {offers(carla)}.", {"held": ""}
        return f"Done: {booking.start.astimezone(ZONE):%Hh} is yours.", {"held": ""}
    if wanted:
        start = DAY.replace(hour=int(wanted[1]))
        try:
            hold = carla.hold(start, start + LENGTH, by=session.user, id=f"{session.user}-{start:%H}", ttl=120)
        except SlotTaken:
            return f"{wanted[0]} has just gone. Still free: {offers(carla)}.", {}
        return f"{wanted[0]} is held for you for two minutes. Shall I book it?", {"held": hold.id}
    return f"Free: {offers(carla)}. Which one?", {}


def hear(memory: Memory, user: str, text: str, message_id: str) -> str:
    """Hold one turn: what a webhook does with a message."""
    carla = memory.agenda("barbearia", "carla")
    session = memory.session(tenant="barbearia", channel="whatsapp", user=user)
    said = ""
    with session.turn(text, message_id=message_id) as turn:
        while turn.should_reply:
            said, remember = answer(carla, session, turn.messages[-1].text)
            turn.reply(said, update=SessionUpdate(variables=dict(remember)))
    return said


def talk(memory: Memory, user: str, together: Barrier) -> list[str]:
    """A customer who wants 15h, and takes the first hour that is offered instead."""
    lines = [hear(memory, user, "Oi, tem horário?", "1")]
    together.wait()  # both ask for the same hour at the same moment
    lines.append(hear(memory, user, "Quero às 15h", "2"))
    if "gone" in lines[-1]:
        instead = re.findall(r"\d{2}h", lines[-1])[1]
        lines.append(hear(memory, user, f"Então às {instead}", "3"))
    lines.append(hear(memory, user, "Sim, pode marcar", "4"))
    return lines


def main() -> None:
    """Run the example."""
    with tempfile.TemporaryDirectory() as folder, Memory.open(f"sqlite:///{folder}/luni.db") as memory:
        together = Barrier(2)
        with ThreadPoolExecutor(2) as pool:
            told = list(pool.map(lambda user: talk(memory, user, together), ("ana", "rui")))
        for lines in sorted(told, key=len):  # who was first, then who was second
            print(*lines, "", sep="\n")
        for booking in memory.agenda("barbearia", "carla").bookings(OPEN, CLOSE):
            print(f"{booking.start.astimezone(ZONE):%Hh} {booking.state}")


if __name__ == "__main__":
    main()
