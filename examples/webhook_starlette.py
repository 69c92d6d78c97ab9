"""A Starlette webhook that gathers bursts: people send three short messages, and get one answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from luni import AsyncMemory, AsyncSession, Policy
from luni.testing import async_memory

BURSTS = Policy(coalesce=0.3, coalesce_max=1.0)  # for a quick example; 1.8 and 6 are right for WhatsApp


async def answer(session: AsyncSession) -> None:
    """Answer the whole burst. The first message's turn waits for the others; theirs are ``joined`` and leave at once."""
    async with session.turn() as turn:
        while turn.should_reply:
            asked = " / ".join(message.text for message in turn.messages)
            for message in await turn.reply(f"You asked: {asked}"):
                print(f"to {session.user}: {message.text}")


async def webhook(request: Request) -> Response:
    """What the provider calls: the message is stored before it hears 200."""
    said = await request.json()
    memory: AsyncMemory = request.app.state.memory
    session = memory.session(tenant="barbearia", channel="whatsapp", user=said["from"])
    await session.receive(said["text"], message_id=said["id"])
    task = asyncio.create_task(answer(session))
    request.app.state.working.add(task)
    task.add_done_callback(request.app.state.working.discard)
    return PlainTextResponse("ok")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Open the memory with the application, and let begun answers end before it closes."""
    async with async_memory(policies={"*": BURSTS}) as memory:
        app.state.memory, app.state.working = memory, set()
        yield
        await asyncio.gather(*app.state.working)


app = Starlette(routes=[Route("/webhook", webhook, methods=["POST"])], lifespan=lifespan)


def main() -> None:
    """Run the example: three messages in a row."""
    with TestClient(app) as client:
        for number, text in enumerate(("Oi", "queria cortar o cabelo", "amanhã às 15h")):
            said = {"from": "5547999990000", "id": f"SM{number}", "text": text}
            print(client.post("/webhook", json=said).status_code)


if __name__ == "__main__":
    main()
