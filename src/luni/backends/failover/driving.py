"""Running flows on the primary: one, or several side by side, so that what they ask for goes there together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from luni.backends.base import Backend
from luni.backends.failover.deciding import Step
from luni.errors import Indeterminate, LuniError, Unavailable
from luni.operations import Operation

__all__ = ["driven", "driven_together"]


def driven(primary: Backend, flow: Step) -> Any:
    """Run a flow; return what it returns."""
    (outcome,) = driven_together(primary, [flow])
    if isinstance(outcome, LuniError):
        raise outcome
    return outcome


def driven_together(primary: Backend, flows: Sequence[Step]) -> list[Any]:
    """Run flows step by step; return what each returns, or the error it ends with."""
    outcomes: list[Any] = [None] * len(flows)
    resumed: dict[int, Callable[[], Any]] = {place: partial(next, flow) for place, flow in enumerate(flows)}
    while resumed:
        asked: dict[int, Operation] = {}
        for place, resume in resumed.items():
            try:
                asked[place] = resume().operation
            except StopIteration as end:
                outcomes[place] = end.value
            except LuniError as error:
                outcomes[place] = error
        answers = _executed(primary, list(asked.values()))
        resumed = {
            place: partial(flows[place].throw if isinstance(answer, LuniError) else flows[place].send, answer)
            for place, answer in zip(asked, answers, strict=True)
        }
    return outcomes


def _executed(primary: Backend, operations: Sequence[Operation]) -> list[Any]:
    """Return the result or the error of each; a backend that has ``execute_all`` is asked once for all of them."""
    together = getattr(primary, "execute_all", None)
    if together is not None and len(operations) > 1:
        try:
            return together(operations)  # type: ignore[no-any-return]
        except LuniError as error:
            return [error] * len(operations)
    answers: list[Any] = []
    for operation in operations:
        try:
            answers.append(primary.execute(operation))
        except (Unavailable, Indeterminate) as error:
            return answers + [error] * (len(operations) - len(answers))  # it is away: nobody waits for each of them
        except LuniError as error:
            answers.append(error)
    return answers
