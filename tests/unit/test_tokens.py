"""Counting tokens without a vocabulary."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luni.context import ESTIMATE, TokenCounter, estimate, message_tokens
from luni.models import Attachment, Message, ToolCall

LETTERS = TokenCounter("letters", len)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("hello", 1),
        ("hello, world!", 4),
        ("1234567", 3),
        ("2024-06-07", 6),
        ("...", 1),
        ("a_b", 3),
        ("one\n\ntwo", 3),
        ("reservation", 2),
        ("às 15h", 4),
        ("Oi, tem horário amanhã às 15h30?", 12),
        ("👍👍", 1),
    ],
)
def test_the_estimate_of_known_texts(text, tokens):
    assert estimate(text) == tokens


@given(st.text(max_size=200))
def test_any_text_has_an_estimate_that_never_exceeds_its_bytes(text):
    assert 0 <= estimate(text) <= len(text.encode("utf-8", "surrogatepass"))


def test_a_stored_count_of_the_same_counter_is_trusted():
    assert message_tokens(Message("hello", tokens=77, counter="estimate-1"), ESTIMATE) == 77


@pytest.mark.parametrize(("tokens", "counter"), [(77, "another-1"), (-1, "estimate-1"), (-1, "")])
def test_any_other_count_is_made_now(tokens, counter):
    assert message_tokens(Message("hello", tokens=tokens, counter=counter), ESTIMATE) == 1


def test_a_stored_count_of_zero_is_a_count():
    assert message_tokens(Message("hello", tokens=0, counter="letters"), LETTERS) == 0


def test_tool_calls_count_with_name_and_arguments():
    message = Message("ab", role="assistant", tool_calls=(ToolCall("id", "find", '{"a":1}'), ToolCall("i2", "x", "{}")))
    assert message_tokens(message, LETTERS) == 2 + 4 + 7 + 1 + 2


def test_attachments_count_as_they_are_shown():
    message = Message("", attachments=(Attachment("audio", transcript="quero dois"),))
    assert message_tokens(message, LETTERS) == len("[audio: quero dois]")


def test_a_redacted_message_costs_its_placeholder_only():
    message = Message("secret secret", role="assistant", redacted=True, tool_calls=(ToolCall("id", "find"),))
    assert message_tokens(message, LETTERS) == len("[redacted]")
