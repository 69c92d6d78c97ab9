"""An assistant that calls a tool: call and result are stored with the answer, and never parted in a prompt."""

import json

from luni import Memory, ToolCall, ToolResult


def free_slots(day: str) -> str:
    """Stand in for a calendar."""
    return json.dumps({"day": day, "slots": ["14:00", "15:00"]})


def main() -> None:
    """Run the example."""
    with Memory.open("sqlite://") as memory:
        session = memory.session(tenant="barbearia", channel="web", user="ana")
        with session.turn("Tem horário amanhã?", message_id="m1") as turn:
            while turn.should_reply:
                call = ToolCall("call-1", "free_slots", json.dumps({"day": "tomorrow"}))
                result = ToolResult(call.id, free_slots("tomorrow"))
                turn.reply("Tenho 14h e 15h.", steps=[call, result])
        for message in session.context().to_openai():
            print(json.dumps(message, ensure_ascii=False))


if __name__ == "__main__":
    main()
