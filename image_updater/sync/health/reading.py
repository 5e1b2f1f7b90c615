"""Reading of statuses that may hold anything: what is not of its type counts as not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from image_updater.sync.model import Condition

if TYPE_CHECKING:
    from image_updater.cluster.model import Body


class Verdict(NamedTuple):
    condition: Condition
    message: str = ""


def current(message: str = "") -> Verdict:
    return Verdict(Condition.CURRENT, message)


def in_progress(message: str) -> Verdict:
    return Verdict(Condition.IN_PROGRESS, message)


def failed(message: str) -> Verdict:
    return Verdict(Condition.FAILED, message)


def terminating(message: str = "it is being deleted") -> Verdict:
    return Verdict(Condition.TERMINATING, message)


def mapping(value: Any, *path: str) -> Mapping[str, Any]:
    """The mapping below `value` at `path`, or an empty one."""
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def items(value: Any, name: str) -> list[Mapping[str, Any]]:
    found = mapping(value).get(name)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def number(value: Mapping[str, Any], name: str, default: int = 0) -> int:
    """An integer; servers leave zeros out."""
    found = value.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) else default


def text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


class Facts:
    """What a condition says: its status, and its reason and message as one text."""

    __slots__ = ("generation", "reason", "status", "words")

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.status = text(entry, "status")
        self.reason = text(entry, "reason")
        message = text(entry, "message").strip()
        self.words = ": ".join(part for part in (self.reason, message) if part)
        self.generation = number(entry, "observedGeneration", -1)

    @property
    def true(self) -> bool:
        return self.status == "True"

    @property
    def false(self) -> bool:
        return self.status == "False"


def conditions(body: Body) -> dict[str, Facts]:
    """By type."""
    return {text(entry, "type"): Facts(entry) for entry in items(mapping(body, "status"), "conditions")}


def unobserved(body: Body, *, required: bool = False) -> Verdict | None:
    """In progress while the controller has not seen the present generation.

    `required`: of kinds whose controller always says what it has observed, nothing said means nothing seen.
    """
    status = mapping(body, "status")
    generation = number(mapping(body, "metadata"), "generation", -1)
    observed = status.get("observedGeneration")
    if not isinstance(observed, int) or isinstance(observed, bool):
        return in_progress("its controller has not looked at it yet") if required else None
    if generation >= 0 and observed != generation:
        return in_progress(f"its controller has seen generation {observed}, not yet {generation}")
    return None


def so_many(have: int, want: int, what: str) -> Verdict:
    """`1 of 3 replicas are ready`."""
    return in_progress(f"{have} of {want} {what}")
