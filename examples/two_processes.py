"""A turn over two processes: one opens it and hands out its handle, another one replies with that."""

import tempfile

from luni import Memory


def begin(url: str, user: str, text: str, message_id: str) -> tuple[list[dict[str, object]], str] | None:
    """What the first request does: return what a model needs, and the handle to reply with."""
    with Memory.open(url) as memory:
        turn = memory.session(tenant="shop", channel="web", user=user).turn(text, message_id=message_id).open()
        if not turn.should_reply:
            return None
        return turn.context.to_openai(), turn.detach()  # the lease goes on, for its length


def finish(url: str, user: str, handle: str, text: str) -> bool:
    """What the second request does; return whether newer messages wait, which come with a handle of their own."""
    with Memory.open(url) as memory:
        return memory.session(tenant="shop", channel="web", user=user).reply(handle, text).should_reply


def main() -> None:
    """Run the example."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/luni.db"
        begun = begin(url, "ana", "Do you deliver?", "m1")
        print(f"second delivery opens a turn: {begin(url, 'ana', 'Do you deliver?', 'm1') is not None}")
        if begun:
            messages, handle = begun
            print(f"more to answer: {finish(url, 'ana', handle, f'Yes! ({len(messages)} message seen)')}")
        with Memory.open(url) as memory:
            for message in memory.session(tenant="shop", channel="web", user="ana").messages():
                print(f"{message.role}: {message.text}")


if __name__ == "__main__":
    main()
