"""What people see of `luni chaos`: a live display while it runs, a line for each fault where nobody watches, the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from luni.ops.chaos import Rehearsal
from luni.ops.chaos_faults import Director
from luni.ops.chaos_traffic import Second, Traffic
from luni.ops.chaos_verdict import Fault, Verdict
from luni.ops.screens import facts, figure, heading, name, section
from luni.ops.words import counted

__all__ = ["line", "live", "named", "verdict"]

SECONDS_SHOWN = 60
FAULTS_SHOWN = 8
BARS = "▁▂▃▄▅▆▇█"
MINUTE = 60
MS = 1000

WORDS = {
    "killed": "killed, then started with its data",
    "paused": "paused: it says nothing, and goes on later",
    "emptied": "killed, then started without its data",
    "cut_off": "cut off: connections are refused",
    "black_hole": "cut off: what is sent disappears",
}
NOW = {
    "killed": "is dead", "paused": "stands still", "emptied": "is dead, and its data is gone",
    "cut_off": "cannot be reached", "black_hole": "cannot be heard",
}  # fmt: skip
PHASES = {
    "starting": "starting the server", "rehearsing": "rehearsing", "healing": "waiting for everything to reach the server",
    "comparing": "comparing with what the server has",
}  # fmt: skip


def named(kind: str) -> str:
    """Return a kind of fault as people read it."""
    return kind.replace("_", " ")


def line(fault: Fault, what: str) -> str:
    """Return what happened as one line: a fault begins, or is over."""
    if what == "begins":
        return f"{_clock(fault.at)}  {named(fault.kind):<10}  {WORDS[fault.kind]}"
    return f"{_clock(fault.at + fault.lasted)}  {'healed':<10}  after {fault.lasted:.1f} s; {_recovery(fault)}"


def _recovery(fault: Fault) -> str:
    return "the next one comes at once" if fault.recovered is None else f"recovered {fault.recovered:.1f} s later"


def live(rehearsal: Rehearsal) -> RenderableType:
    """Return the display of this moment."""
    traffic, director = rehearsal.traffic, rehearsal.director
    if traffic is None or director is None:
        return Group(heading("luni chaos", PHASES["starting"]))
    passed = min(director.elapsed, rehearsal.seconds)
    title = Text.assemble(
        ("luni chaos", "bold"), f"  {_clock(passed)}", (f" of {_clock(rehearsal.seconds)}", "dim"),
        (f"  {PHASES[rehearsal.phase]}", "dim"),
    )  # fmt: skip
    return Group(title, section(_state(rehearsal, director), Text(), _figures(traffic)), Text(), *_faults(director))


def _state(rehearsal: Rehearsal, director: Director) -> Table:
    grid, health, now = facts(), rehearsal.health, director.now
    mark = ("● ", "green") if now is None else ("● ", "bold red")
    grid.add_row(
        "server", Text.assemble(mark, (NOW[now.kind], "red") if now else "is there", (f"  {name(rehearsal.title)}", "dim"))
    )
    if not health.ok:
        luni = Text.assemble(("● ", "bold red"), ("cannot serve", "red"), ("  there is no fallback", "dim"))
    elif rehearsal.heard.away:
        luni = Text.assemble(
            ("● ", "bold yellow"),
            ("on its own", "yellow"),
            (f"  {counted(health.journal_depth, 'operation waits', 'operations wait')}", "dim"),
        )
    elif health.degraded:
        luni = Text.assemble(
            ("● ", "yellow"), "catching up", (f"  {counted(health.journal_depth, 'operation waits', 'operations wait')}", "dim")
        )
    else:
        luni = Text.assemble(("● ", "green"), "on the server", ("  nothing waits", "dim"))
    grid.add_row("luni", luni)
    return grid


def _figures(traffic: Traffic) -> Table:
    grid, seconds = facts(), traffic.seconds()[-SECONDS_SHOWN:]
    grid.add_row("turns a second", _bars(seconds))
    share = f"{100 * traffic.degraded / traffic.turns:.0f} % of {traffic.turns:,} turns" if traffic.turns else ""
    grid.add_row(
        "acknowledged", figure(f"{traffic.acknowledged:,}", f"messages of {counted(len(traffic.conversations), 'session')}")
    )
    grid.add_row("served degraded", figure(f"{traffic.degraded:,}", share))
    grid.add_row("refused", figure(f"{sum(traffic.refused.values()):,}", _kinds(traffic.refused)))
    grid.add_row("slowest call", figure(f"{MS * traffic.worst:,.0f} ms"))
    return grid


def _bars(seconds: Sequence[Second]) -> Text:
    """A bar for each second: green the server, yellow this host, red refusals."""
    most = max((one.served + one.degraded + one.refused for one in seconds), default=0) or 1
    text = Text(no_wrap=True, overflow="crop")
    for one in seconds:
        total = one.served + one.degraded + one.refused
        style = "red" if one.refused else "yellow" if one.degraded else "green"
        text.append(BARS[round((len(BARS) - 1) * total / most)] if total else " ", style=style)
    return text


def _faults(director: Director) -> list[RenderableType]:
    history = list(director.history)
    if not history:
        return [heading("Faults", "the first one comes soon")]
    table = Table.grid(padding=(0, 2, 0, 0))
    for style in ("dim", "", "dim"):
        table.add_column(style=style, no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for one in history[-FAULTS_SHOWN:]:
        now = one is director.now
        state = Text("now", "bold red") if now else _recovered(one)
        length = f"{director.elapsed - one.at if now else one.lasted:.1f} s"
        table.add_row(_clock(one.at), Text(named(one.kind), "red" if now else ""), length, state)
    return [heading("Faults", f"{len(history)} so far"), section(table)]


def _recovered(fault: Fault) -> Text:
    if fault.recovered is None:
        return Text("the next one came at once", "dim")
    return Text(f"recovered {fault.recovered:.1f} s later", "green")


def verdict(found: Verdict) -> RenderableType:
    """Return the verdict as people read it."""
    kinds = ", ".join(f"{number} {named(kind)}" for kind, number in sorted(found.faults.items()))
    grid = facts()
    grid.add_row("faults", figure(f"{sum(found.faults.values()):,}", kinds or "none"))
    grid.add_row("acknowledged", figure(f"{found.acknowledged:,}", f"messages of {counted(found.sessions, 'session')}"))
    for what, number in (("lost", found.lost), ("duplicated", found.duplicated), ("out of order", found.out_of_order)):
        grid.add_row(what, Text(f"{number:,}", "bold green" if not number else "bold red"))
    if found.wiped:
        grid.add_row(
            "wiped", figure(f"{found.wiped:,}", "acknowledged before the server was emptied; a fallback would heal them")
        )
    if found.waiting:
        grid.add_row(
            "waiting", Text(f"{counted(found.waiting, 'operation')} had not reached the server in the end", "bold red")
        )
    grid.add_row("served degraded", figure(f"{found.served_degraded:,}", f"of {found.turns:,} turns"))
    grid.add_row("refused", figure(f"{sum(found.refused.values()):,}", _kinds(found.refused) or "calls"))
    grid.add_row(
        "replayed", figure(f"{found.replayed:,}", f"operations · {found.healed_messages:,} messages healed from the mirror")
    )
    tails = f"worst · {found.p99_ms:,.1f} ms p99 · {found.p50_ms:,.1f} ms median"
    grid.add_row("latency", figure(f"{found.worst_ms:,.1f} ms", tails))
    grid.add_row("recovery", figure(f"{found.slowest_recovery:.1f} s", "the slowest"))
    parts: list[RenderableType] = [_result(found), section(grid)]
    if found.examples:
        parts += [Text(), heading("For example"), *(section(Text(name(one))) for one in found.examples)]
    return Group(*parts, Text(f"\nseed {found.seed}: --seed brings the same faults again", "dim"))


def _result(found: Verdict) -> Text:
    early = ", ended early" if found.ended_early else ""
    rest = (f"  {name(found.server)}, {_clock(found.seconds)} min{early}", "dim")
    if not found.passed:
        return Text.assemble(("✗ not everything that was acknowledged is there", "bold red"), rest)
    words = "✓ nothing lost, nothing twice, nothing out of order"
    if found.wiped:
        words = "✓ nothing lost but what the server was emptied of"
    return Text.assemble((words, "bold green"), rest)


def _kinds(refused: dict[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(refused.items()))


def _clock(seconds: float) -> str:
    return f"{int(seconds) // MINUTE}:{int(seconds) % MINUTE:02d}"
