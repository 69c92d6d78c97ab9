"""Every example runs, and says what its description promises."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

SAYS = {
    "quickstart.py": "second delivery: duplicate, answered with 1 message",
    "webhook_fastapi.py": "You said: Oi\naccepted\nduplicate\nto 5547999990000: You said: tem horário amanhã?\n",
    "webhook_starlette.py": "200\n200\n200\nto 5547999990000: You asked: Oi / queria cortar o cabelo / amanhã às 15h\n",
    "sweeper.py": "to rui: Sim, às 15h.\nto ana: You said: Oi\n0 unanswered, 0 unsent\n",
    "takeover.py": "human: Aqui é a Carla. Devolvo hoje.\nuser: Obrigada! E tem horário amanhã?\nassistant: Bot: Obrigada!",
    "voice_message.py": "assistant: I heard: Tem horário amanhã às três?",
    "two_processes.py": "more to answer: False\nuser: Do you deliver?\nassistant: Yes! (1 message seen)\n",
    "booking_assistant.py": "Done: 15h is yours.\n\nFree: 14h, 15h, 16h, 17h. Which one?\n"
    "15h has just gone. Still free: 14h, 16h, 17h.\n"
    "14h is held for you for two minutes. Shall I book it?\nDone: 14h is yours.\n\n14h confirmed\n15h confirmed\n",
    "webhook_later.py": "You asked: Oi / tem horário amanhã?",
    "tool_calls.py": '"tool_call_id": "call-1"',
    "test_your_bot.py": "both tests pass",
}


def test_every_example_is_known_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_the_example_runs(name):
    run = subprocess.run([sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert SAYS[name] in run.stdout
