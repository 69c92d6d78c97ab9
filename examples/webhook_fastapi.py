"""A FastAPI webhook: store the message, say 200, answer in the background. Every delivery counts once, every answer is sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import BackgroundTasks, FastAPI, Request
from fastapi.testclient import TestClient

from luni import AsyncMemory, AsyncSession, Policy
from luni.testing import async_memory


def ask_model(messages: list[dict[str, object]]) -> str:
    """Stand in for a model: your own call goes here."""
    return f"You said: {messages[-1]['content']}"


def send(user: str, text: str, *, idempotency_key: str) -> str:
    """Stand in for the provider: return its own id of the message."""
    print(f"to {user}: {text}")
    return f"provider-{idempotency_key}"


async def answer(session: AsyncSession) -> None:
    """Answer what waits and send it. If this process dies here, a sweeper goes on: see sweeper.py."""
    async with session.turn() as turn:
        while turn.should_reply:
            for message in await turn.reply(ask_model(turn.context.to_openai())):
                provider_id = send(session.user, message.text, idempotency_key=message.id)
                await session.mark_sent(message.id, provider_id=provider_id)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the memory with the application; in production `AsyncMemory.from_env()`."""
    async with async_memory(policies={"*": Policy(outbox=True)}) as memory:
        app.state.memory = memory
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/webhook")
async def webhook(request: Request, background: BackgroundTasks) -> dict[str, str]:
    """What the provider calls, once or more for each message."""
    said = await request.json()
    memory: AsyncMemory = request.app.state.memory
    session = memory.session(tenant="barbearia", channel="whatsapp", user=said["from"])
    received = await session.receive(said["text"], message_id=said["id"])
    background.add_task(answer, session)  # also for a duplicate: it finds nothing to do, unless a worker has died
    return {"state": received.state}


def main() -> None:
    """Run the example: the provider delivers the first message twice."""
    with TestClient(app) as client:
        for number, text in ((1, "Oi"), (1, "Oi"), (2, "tem horário amanhã?")):
            said = {"from": "5547999990000", "id": f"SM{number}", "text": text}
            print(client.post("/webhook", json=said).json()["state"])


if __name__ == "__main__":
    main()
