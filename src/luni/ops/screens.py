"""What people read: tables and reports in a terminal. Stored text is shown, never obeyed: no markup, no escape sequences."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from luni.models import Message, Page, SessionExport, SessionInfo
from luni.ops.demo import Demo, Example
from luni.ops.doctor import Diagnosis
from luni.ops.fallback import Fallback
from luni.ops.replay import Report
from luni.ops.waiting import Waiting
from luni.ops.words import lasted, since

__all__ = [
    "ago", "amount", "demo", "doctor", "facts", "figure", "heading", "name", "next_steps", "pending", "plain", "replay",
    "section", "sessions", "show",
]  # fmt: skip

BAR = 28
LABEL = 16
CONTEXT_LINES = 6
MINUTE = 60
KILO = 1000

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_COLOURS = {"user": "cyan", "assistant": "green", "human": "magenta", "system": "yellow", "tool": "yellow"}


def plain(text: str) -> str:
    """Return text that cannot steer a terminal: control characters and changes of the writing direction become ``�``."""
    return _CONTROLS.sub("�", text)


def name(text: str) -> str:
    """Return the same on one line."""
    return " ".join(plain(text).split())


def heading(title: str, rest: str = "") -> Text:
    """Return a section's first line."""
    return Text.assemble((title, "bold"), ("  " + rest if rest else "", "dim"))


def replay(report: Report) -> RenderableType:
    """Return a replay's report."""
    return Group(heading("luni replay"), section(_figures(report), Text(), _saving(report)))


def demo(found: Demo) -> RenderableType:
    """Return the demo's report."""
    locales = ", ".join(f"{count} {locale}" for locale, count in sorted(found.locales.items()))
    example = found.example
    return Group(
        heading("luni demo", "recorded conversations through memory, turn by turn"),
        section(_figures(found.report, locales, found.server), Text(), _saving(found.report)),
        Text(),
        heading("What was folded", f"{example.conversation}, the largest saving"),
        section(*_folding(example)),
        Text(),
        heading("Everything delivered a second time"),
        section(_again(found)),
        Text(),
        next_steps("luni chat", "luni replay FILE --url redis://HOST", "luni doctor"),
    )


def next_steps(*commands: str) -> Text:
    """Return what to try next."""
    return Text.assemble(("Next  ", "bold"), Text("  ·  ", style="dim").join(map(Text, commands)))


def _figures(report: Report, locales: str = "", server: str = "") -> Table:
    grid = facts()
    grid.add_row("conversations", figure(f"{report.conversations:,}", locales))
    grid.add_row("turns", figure(f"{report.turns:,}", f"{report.messages:,} messages"))
    if report.p50_ms is not None:
        tails = f"median · {report.p95_ms:.2f} p95 · {report.p99_ms:.2f} p99 · {report.turns_per_second:,.0f} turns/s"
        grid.add_row("one turn", figure(f"{report.p50_ms:.2f} ms", tails))
    if report.duplicates_refused:
        grid.add_row("refused", figure(f"{report.duplicates_refused:,}", "second deliveries: nothing was stored again"))
    grid.add_row("folded", figure(f"{report.folded:,}", "messages, into summaries"))
    stored = "unknown" if report.bytes_stored is None else amount(report.bytes_stored)
    grid.add_row("stored", figure(stored, f"on {plain(server or report.backend)}"))
    if report.bad_lines:
        grid.add_row("bad lines", figure(f"{report.bad_lines:,}", "passed over"))
    return grid


def _saving(report: Report) -> RenderableType:
    if report.reduction_pct is None:
        return Text("No turn was answered, so there are no prompt tokens to compare.", style="dim")
    grid = facts(figures=True)
    share = report.prompt_tokens / report.full_history_tokens
    grid.add_row("full history", f"{report.full_history_tokens:,}", Text("█" * BAR, style="bright_black"))
    saved = (f"  {report.reduction_pct:.1f} % fewer prompt tokens", "bold green")
    bar = Text.assemble(("█" * max(1, round(BAR * min(1.0, share))), "green"), saved)
    grid.add_row("luni", f"{report.prompt_tokens:,}", bar)
    if report.largest_saving_pct:
        largest = f"in {name(report.largest_saving_conversation)}"
        grid.add_row("largest saving", f"{report.largest_saving_pct:.1f} %", Text(largest, style="dim"))
    return grid


def _folding(example: Example) -> list[RenderableType]:
    grid = facts()
    last = example.messages
    length = f"→ a summary of {len(example.summary)} characters"
    grid.add_row(f"messages 1 to {example.folded}", Text(length))
    grid.add_row(f"{example.folded + 1} to {last}", Text("→ the window, word for word"))
    grid.add_row("prompt", figure(f"{example.prompt_tokens:,} tokens", f"instead of {example.full_history_tokens:,}"))
    return [grid, Text(), Text("the context a model gets", style="dim"), _context(example)]


def _context(example: Example) -> RenderableType:
    """The notes whole, then the first and the last lines of the window."""
    lines = plain(example.context).splitlines()
    notes = 1 + max((i for i, line in enumerate(lines) if line.startswith("> ")), default=-1)
    first, last = lines[notes : notes + 2], lines[max(notes + 2, len(lines) - CONTEXT_LINES + 2) :]
    left_out = len(lines) - notes - len(first) - len(last)
    shown = [Text(line, style="italic" if line.startswith("> ") else "dim") for line in lines[:notes]]
    shown += [_spoken(line) for line in first]
    if left_out:
        shown.append(Text(f"  ⋯ {left_out} more lines", style="dim"))
    return Padding(Group(*shown, *map(_spoken, last)), (0, 0, 0, 2), expand=False)


def _spoken(line: str) -> Text:
    label, colon, rest = line.partition(": ")
    return _one_line(Text.assemble((label + colon, "cyan"), rest) if colon else Text(line))


def _one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _again(found: Demo) -> Table:
    grid, again, example = facts(), found.again, found.example
    refused = f"{again.duplicates_refused:,} of {again.turns:,}"
    grid.add_row("refused", figure(refused, "turns: no prompt, no second answer"))
    changed = (
        ("nothing", "every session is the same, byte for byte") if found.unchanged else ("something", "this is a fault of luni")
    )
    grid.add_row("changed", figure(*changed))
    grid.add_row("for example", _one_line(Text(_joined(example.asked))))
    grid.add_row("", _one_line(Text.assemble((f"{example.state}  ", "yellow"), _joined(example.answer))))
    grid.add_row("", Text("the answer it got the first time, from memory", style="dim"))
    return grid


def _joined(text: str) -> str:
    return f"“{name(text)}”"


_WIDE = 110


def sessions(tenant: str, page: Page, now: float) -> RenderableType:
    """Return a page of a tenant's sessions."""
    if not page.items:
        return Text(f"{name(tenant)} has no sessions.")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for left in ("active", "channel", "user"):
        table.add_column(left, overflow="fold")
    for right in ("messages", "folded"):
        table.add_column(right, justify="right")
    wide = shutil.get_terminal_size().columns >= _WIDE  # else channel and user need the room; --json has the id
    if wide:
        table.add_column("session id", no_wrap=True, style="dim")
    for info in page:
        user = name(info.user) + ("  (paused)" if info.paused else "")
        counts = f"{info.message_count:,}", f"{info.folded:,}"
        table.add_row(ago(now - info.last_activity), Text(name(info.channel)), Text(user), *counts, *[info.session_id] * wide)
    more = [Text(f"\nmore: --cursor {page.cursor}", style="dim")] if page.cursor else []
    return Group(table, *more)


def pending(found: Sequence[Waiting], nothing: str) -> RenderableType:
    """Return what waits for an answer or to be sent."""
    if not found:
        return Text(nothing)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    texts = any(one.message_id for one in found)
    for column in ("waiting since", "tenant", "channel", "user", *["message"] * texts):
        table.add_column(column, overflow="fold")
    for one in found:
        place = [Text(name(part)) for part in (one.tenant, one.channel, one.user)]
        table.add_row(ago(one.waited), *place, *[Text(name(one.text))] * texts)
    return table


def show(export: SessionExport, now: float) -> RenderableType:
    """Return a session: what is known of it, its summary, its messages."""
    info = export.info
    parts: list[RenderableType] = [
        heading(name(info.user), name(f"{info.tenant} · {info.channel}")),
        section(_facts(info, now)),
    ]
    if info.summary:
        parts += [Text(), heading("Summary", f"of the first {info.folded} messages"), section(Text(plain(info.summary)))]
    messages = export.transcript if len(export.transcript) > len(export.messages) else export.messages
    parts += [Text(), heading("Messages", _span(info, len(messages))), section(_messages(messages))]
    return Group(*parts)


def _span(info: SessionInfo, held: int) -> str:
    first = info.message_count - held + 1
    return f"{first} to {info.message_count} of {info.message_count}" if held else "none"


def _facts(info: SessionInfo, now: float) -> Table:
    grid = facts()
    state = "paused" if info.paused else "open"
    waiting = f"{info.unanswered} unanswered" if info.unanswered else "nothing waits"
    grid.add_row("session", Text(info.session_id))
    grid.add_row("state", figure(state, waiting))
    if info.paused:
        until = "until somebody resumes it" if info.paused_until is None else f"until {_moment(info.paused_until)}"
        by, why = (name(part) if part else "" for part in (info.paused_by, info.paused_reason))
        grid.add_row(
            "paused", figure(f"by {by}" if by else until, " · ".join(part for part in (why, until if by else "") if part))
        )
    grid.add_row("began", figure(_moment(info.created_at), f"last active {ago(now - info.last_activity)}"))
    if info.focus:
        grid.add_row("focus", Text(plain(info.focus)))
    for label, values in (("metadata", info.metadata), ("variables", info.variables)):
        shown = [f"{key}={value!r}" for key, value in values.items() if value is not None]
        if shown:
            grid.add_row(label, Text(plain(", ".join(shown))))
    return grid


def _messages(messages: Iterable[Message]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for message in messages:
        when = _moment(message.timestamp)
        table.add_row(when, Text(message.role, style=_COLOURS.get(message.role, "")), Text(_text_of(message)))
    return table


def _text_of(message: Message) -> str:
    calls = [f"[{call.name}({call.arguments})]" for call in message.tool_calls]
    files = [f"[{one.kind}]" for one in message.attachments]
    text = "[redacted]" if message.redacted else message.text
    return plain("\n".join(part for part in (text, *calls, *files) if part))


def doctor(found: Diagnosis) -> RenderableType:
    """Return a diagnosis."""
    mark = ("✓ healthy", "bold green") if found.healthy else ("✗ not reachable", "bold red")
    latency = f"answers in {found.latency_ms:.1f} ms" if found.latency_ms is not None else plain(found.problem)
    store = facts()
    for key, value in found.store.items():
        store.add_row(_LABELS.get(key, key.replace("_", " ")), Text(_readable(key, value)))
    store.add_row("power cut loses", Text(found.lost_on_power_failure))
    store.add_row("locks, bookings", Text(plain(found.locks_and_bookings)))
    versions = facts()
    for label, value in found.versions.items():
        versions.add_row(label, Text(value))
    warnings: list[RenderableType] = [
        section(Text.assemble(("! ", "bold yellow"), plain(warning))) for warning in found.warnings
    ]
    return Group(
        Text.assemble(mark, ("  " + latency if latency else "", "dim")),
        *([Text(), heading("Warnings"), *warnings] if warnings else []),
        *(Text(), heading("Store"), section(store)),
        *(Text(), heading("Fallback"), section(_fallback(found.fallback))),
        *(Text(), heading("Versions"), section(versions)),
        *(Text(), heading("Settings", "in force; those that differ from the default are bright"), section(_settings(found))),
    )


def _fallback(found: Fallback) -> RenderableType:
    none = Text("none: while a server is away, calls fail (LUNI_FALLBACK)", style="dim")
    if not found.made and not found.configured:
        return none
    grid, now = facts(), time.time()
    if found.configured:
        grid.add_row("storage", figure(plain(found.place), found.file_system and f"on {plain(found.file_system)}"))
    else:
        grid.add_row("storage", none)
    grid.add_row("journal", figure(plain(found.journal), "" if found.made else "none yet: it is made at first use"))
    grid.add_row("waiting", figure(f"{found.waiting:,}", since(found.oldest_ms, now) if found.waiting else ""))
    if found.erasures:
        grid.add_row("erasures", figure(f"{found.erasures:,}", f"not on the server yet, {since(found.owed_ms, now)}"))
    grid.add_row("dead", figure(f"{found.dead:,}", "luni journal list --dead" if found.dead else ""))
    return grid


_LABELS = {"size_bytes": "size"}


def _settings(found: Diagnosis) -> Table:
    grid = Table.grid(padding=(0, 3, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for setting in found.settings:
        style = "bold" if setting.changed else "dim"
        grid.add_row(Text(setting.name, style=style), Text(plain(setting.value), style=style))
    return grid


def _readable(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if key == "size_bytes":
        return amount(int(value))
    return plain(", ".join(value) if isinstance(value, list) else str(value))


def facts(*, figures: bool = False) -> Table:
    """Return a table for labels and what they are about, with a column of ``figures`` between."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True, min_width=LABEL)
    if figures:
        grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def figure(what: str, rest: str = "") -> Text:
    """Return what counts, and what is to be known of it."""
    return Text.assemble((what, "bold"), ("  " + rest if rest else "", "dim"))


def section(*parts: RenderableType) -> Padding:
    """Return what stands below a heading."""
    return Padding(Group(*parts), (0, 0, 0, 2), expand=False)


def amount(size: int) -> str:
    """Return a size in bytes as a person reads it."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < KILO:
            break
        value, unit = value / KILO, larger
    return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"


def ago(seconds: float) -> str:
    """Return how long ago something was."""
    return f"{lasted(seconds)} ago" if seconds >= MINUTE else "just now"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
