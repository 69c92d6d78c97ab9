"""A webhook that must say 200 before the model has thought: receive now, answer later, on any instance."""

import asyncio

from luni import AsyncMemory
from luni.testing import async_memory


async def webhook(memory: AsyncMemory, sender: str, text: str, message_id: str) -> int:
    """Store the message once and say 200."""
    session = memory.session(tenant="barbearia", channel="whatsapp", user=sender)
    await session.receive(text, message_id=message_id)
    return 200


async def worker(memory: AsyncMemory, sender: str) -> None:
    """Answer what waits, in one go."""
    session = memory.session(tenant="barbearia", channel="whatsapp", user=sender)
    async with session.turn() as turn:
        while turn.should_reply:
            asked = " / ".join(message.text for message in turn.messages)
            for sent in await turn.reply(f"You asked: {asked}"):
                print(sent.text)


async def main() -> None:
    """Run the example: the provider delivers the first message twice."""
    async with async_memory() as memory:
        await webhook(memory, "5547999990000", "Oi", "SM1")
        await webhook(memory, "5547999990000", "Oi", "SM1")
        await webhook(memory, "5547999990000", "tem horário amanhã?", "SM2")
        await worker(memory, "5547999990000")


if __name__ == "__main__":
    asyncio.run(main())
