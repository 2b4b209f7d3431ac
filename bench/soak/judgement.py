"""What each kind of request may get, and the verdict on what it got."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from bench.soak.exchange import End, Reply
from elastic_yolo.printable import body_text


class Verdict(Enum):
    """The columns of the report."""

    ANSWERED = "answered"
    """A status below 400 that the kind allows, with the right content."""
    REFUSED = "refused"
    """An error that the kind allows."""
    LEFT = "left"
    """The caller left before the end of the answer, as it meant to."""
    CUT = "cut"
    """The process that the request was sent to was killed, frozen or stopped meanwhile."""
    WRONG = "wrong"
    """An answer with other content than expected."""
    UNEXPECTED = "unexpected"
    """A status that the kind does not allow, or a malformed error."""
    LOST = "lost"
    """No answer where one is owed."""


FAILURES = (Verdict.WRONG, Verdict.UNEXPECTED, Verdict.LOST)


@dataclass(frozen=True)
class Rule:
    """The answers that a request may get."""

    statuses: frozenset[int]
    is_right: Callable[[Reply], bool] | None = None
    """Checks the content of an answer 200."""
    may_close: bool = False
    """Whether the service may close the connection without an answer."""
    in_faults: frozenset[int] = frozenset()
    """Further statuses while a fault lasts, whichever process it is in."""


def allow(
    *statuses: int,
    is_right: Callable[[Reply], bool] | None = None,
    may_close: bool = False,
    in_faults: tuple[int, ...] = (),
) -> Rule:
    """Return a rule."""
    return Rule(frozenset(statuses), is_right, may_close, frozenset(in_faults))


@dataclass(frozen=True)
class Circumstances:
    """The faults during a request."""

    any_fault: bool = False
    own_fault: bool = False
    """Whether one was in the process that the request was sent to."""


def judge(rule: Rule, reply: Reply, during: Circumstances) -> tuple[Verdict, str]:
    """Return the verdict on a reply, and why it is a failure."""
    match reply.end:
        case End.LEFT:
            return Verdict.LEFT, ""
        case End.ANSWER:
            malformed = _find_mistake(reply)
            return (Verdict.UNEXPECTED, malformed) if malformed else _judge(rule, reply, during)
        case _ if during.own_fault:
            return Verdict.CUT, ""
        case End.CLOSED if rule.may_close:
            return Verdict.REFUSED, ""
        case _:
            return Verdict.LOST, reply.end.value


def _judge(rule: Rule, reply: Reply, during: Circumstances) -> tuple[Verdict, str]:
    """Return the verdict on an answer of the right form."""
    if reply.status in rule.statuses:
        if reply.status == 200 and rule.is_right is not None and not rule.is_right(reply):
            return Verdict.WRONG, f"200 with {body_text(reply.body, 300)}"
        return (Verdict.ANSWERED if reply.status < 400 else Verdict.REFUSED), ""
    if during.own_fault and reply.status == 503:
        # It starts or drains.
        return Verdict.CUT, ""
    if during.any_fault and reply.status in rule.in_faults:
        return Verdict.REFUSED, ""
    return Verdict.UNEXPECTED, f"{reply.status}: {body_text(reply.body, 300)}"


def _find_mistake(reply: Reply) -> str:
    """Return what is wrong with the form of an answer, which every service must keep."""
    if "x-request-id" not in reply.headers:
        return f"{reply.status} without X-Request-ID"
    if reply.status < 400:
        return ""
    if reply.headers.get("content-type") != "application/problem+json":
        return f"{reply.status} as {reply.headers.get('content-type')}"
    if reply.status == 429 and not _retry_after(reply):
        return f"{reply.status} without Retry-After"
    if reply.body and not _is_problem(reply):
        return f"{reply.status} with {body_text(reply.body, 300)}"
    return ""


def _retry_after(reply: Reply) -> bool:
    return reply.headers.get("retry-after", "").isdigit()


def _is_problem(reply: Reply) -> bool:
    try:
        problem = json.loads(reply.body)
        return bool(problem["status"] == reply.status and problem["title"] and problem["uid"])
    except (ValueError, KeyError, TypeError):
        return False
