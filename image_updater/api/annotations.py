"""Annotations on workloads in Git, as implicit policies: `image-updater.dev/policy: 'semver ^1.2'`.

Here the texts are read; which image of which rendered object an annotation claims is decided where the sites are known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

from image_updater.api.decode import SpecErrors, did_you_mean, suggest
from image_updater.api.durations import parse_duration
from image_updater.api.fields import check_name, check_namespace
from image_updater.api.model import (
    GROUP,
    AlphabeticalPolicy,
    CalverPolicy,
    DigestPolicy,
    NewestBy,
    NewestPolicy,
    NumericalPolicy,
    Order,
    SemverPolicy,
    Strategy,
)
from image_updater.api.tags import check_tag
from image_updater.api.wishes import READERS
from image_updater.errors import SpecError, Where

PREFIX: Final = f"{GROUP}/"

POLICY: Final = "policy"
FILTER: Final = "filter"
MIN_AGE: Final = "min-age"
IGNORE: Final = "ignore"

PER_CONTAINER: Final = (POLICY, FILTER)
"""Annotations that take `.<container>`."""

MEANING: Final = {
    POLICY: "policy of all containers, or with `.<container>` of one: see the forms below",
    FILTER: "RE2 pattern that a tag must have in it (not anchored), for all containers or with `.<container>` for one",
    MIN_AGE: "how long a tag with the same bytes must have been there, such as `72h`; for all containers",
    IGNORE: '`"true"`: no image of this object is touched, whatever claims it',
}
"""Every annotation by its name behind `image-updater.dev/`, for reading and for the reference page."""

ELSEWHERE: Final = ("requestedAt", "reconcile", "prune")
"""Names behind the prefix that other parts of the product read; they are no mistakes here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyName:
    """A named ImagePolicy: `ref web` (of the automation's namespace) or `ref apps/web`."""

    name: str
    namespace: str | None = None

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


AnnotationPolicy: TypeAlias = Strategy | PolicyName


def parse_annotation_policy(text: str, *, where: Where | None = None) -> AnnotationPolicy:
    """The policy that an annotation's value names. Raises SpecErrors, at `where`."""
    word, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    if not word:
        raise _error("is empty", where, f"write one of: {', '.join(form.text for form in FORMS.values())}")
    form = FORMS.get(word)
    if form is None:
        raise _error(f"{word!r} is not a policy", where, _hint(word, text))
    if not rest and form.needs is not None:
        raise _error(f"{word} needs {form.needs}", where, f"such as '{form.example}'")
    try:
        return form.read(rest)
    except ValueError as exc:
        raise _error(str(exc), where, f"such as '{form.example}'") from exc


def misnamed(annotations: Mapping[str, str]) -> str | None:
    """What is wrong with the names of a workload's annotations, the first of them: a gate that is mistyped must not be
    overlooked. Foreign ones are not looked at."""
    for key in annotations:
        if key.startswith(PREFIX) and (wrong := _misnamed(key)):
            return f"{key}: {wrong[0]}" + (f" ({wrong[1]})" if wrong[1] else "")
    return None


def _misnamed(key: str) -> tuple[str, str | None] | None:
    """The mistake in the name of one annotation of ours, and its remedy."""
    name, dot, container = key[len(PREFIX) :].partition(".")
    if name in ELSEWHERE:
        return None
    if key in READERS:
        return "counts on an ImagePolicy, not on a workload", "write an ImagePolicy, or a trailer into a commit"
    if name in MEANING and dot and name not in PER_CONTAINER:
        return "is for all containers: it takes no name of one", f"write {PREFIX}{name}"
    if name not in MEANING:
        return "unknown annotation", did_you_mean(name, MEANING)
    return ("names no container behind the dot", None) if dot and not container else None


def parse_ignore(text: str) -> bool:
    """The value of `ignore`. Raises ValueError that says what is wrong."""
    said = text.strip().lower()
    if said not in ("true", "false"):
        raise ValueError(f"{text[:80]!r} is neither 'true' nor 'false'")
    return said == "true"


MIN_AGE_HELP: Final = "write a duration such as 72h, or remove the annotation"


def parse_min_age(text: str) -> timedelta:
    """The value of `min-age`; nothing is no wait. Raises ValueError that says what is wrong."""
    said = text.strip()
    try:
        value = parse_duration(said) if said else timedelta(0)
    except ValueError as exc:
        raise ValueError(f"{said[:80]!r} {exc}") from exc
    if not timedelta(0) <= value <= timedelta(days=3650):
        raise ValueError(f"{said[:80]!r} is not from 0s to ten years")
    return value


def _error(message: str, where: Where | None, remedy: str) -> SpecErrors:
    return SpecErrors([SpecError(message, where=where, remedy=remedy)])


def _hint(word: str, text: str) -> str:
    """A range without its strategy is the usual slip."""
    if word[0] in "^~<>=*" or word[0].isdigit():
        return f"a range needs its strategy: 'semver {text.strip()}'"
    head, colon, rest = word.partition(":")
    if colon and head in FORMS:
        return f"write a space instead of the colon: '{head} {rest}'"
    close = suggest(word, FORMS)
    return f"did you mean {close!r}?" if close else f"one of: {', '.join(form.text for form in FORMS.values())}"


# ------------------------------------------------------------------------------------------------ the forms


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One form of the value: `text` as shown, `needs` = what must follow the word."""

    text: str
    doc: str
    example: str
    read: Callable[[str], AnnotationPolicy]
    needs: str | None = None


def _order(rest: str) -> Order:
    if rest not in ("", *Order):
        raise ValueError(f"{rest!r} is no order: asc or desc")
    return Order(rest) if rest else Order.ASC


def _newest(rest: str) -> NewestPolicy:
    if rest not in ("", *NewestBy):
        raise ValueError(f"{rest!r} is no date: {', '.join(NewestBy)}")
    return NewestPolicy(by=NewestBy(rest) if rest else NewestBy.CREATED)


def _digest(rest: str) -> DigestPolicy:
    problem = check_tag(rest)
    if problem is not None:
        raise ValueError(problem)
    return DigestPolicy(tag=rest)


def _ref(rest: str) -> PolicyName:
    namespace, slash, name = rest.rpartition("/")
    if not slash and rest.count(":") == 1:
        namespace, slash, name = rest.partition(":")  # as in Flux's markers
    problem = check_name(name) or (check_namespace(namespace) if slash else None)
    if problem is not None:
        raise ValueError(problem)
    return PolicyName(name=name, namespace=namespace or None)


FORMS: Final = {
    form.text.split()[0]: form
    for form in (
        Form(
            text="semver RANGE",
            doc="the highest version in a range",
            example="semver ^1.2",
            needs="a range",
            read=lambda rest: SemverPolicy(range=rest),
        ),
        Form(
            text="numerical [asc|desc]",
            doc="the highest number (or the lowest)",
            example="numerical",
            read=lambda rest: NumericalPolicy(order=_order(rest)),
        ),
        Form(
            text="alphabetical [asc|desc]",
            doc="the last in byte order (or the first)",
            example="alphabetical",
            read=lambda rest: AlphabeticalPolicy(order=_order(rest)),
        ),
        Form(
            text="calver FORMAT",
            doc="the latest calendar version",
            example="calver YYYY.0M.MICRO",
            needs="a format",
            read=lambda rest: CalverPolicy(format=rest),
        ),
        Form(
            text="newest [created|pushed|firstSeen]",
            doc="the image with the latest date",
            example="newest",
            read=_newest,
        ),
        Form(
            text="digest TAG",
            doc="follow a mutable tag by its digest",
            example="digest latest",
            needs="a tag",
            read=_digest,
        ),
        Form(
            text="ref [NAMESPACE/]NAME",
            doc="what this ImagePolicy chooses",
            example="ref web",
            needs="a policy's name",
            read=_ref,
        ),
    )
}
"""The forms by their first word, for reading and for the reference page."""
