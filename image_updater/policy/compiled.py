"""An ImagePolicy made ready: patterns, ranges and templates compiled once, wrong ones as errors with their place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from image_updater.api.model import (
    AlphabeticalPolicy,
    CalverPolicy,
    DigestPolicy,
    DigestReflection,
    NewestPolicy,
    NumericalPolicy,
    SemverPolicy,
)
from image_updater.errors import SpecError, Where
from image_updater.images import is_tag, parse_name
from image_updater.policy.alphabetical import Alphabetical
from image_updater.policy.calver import Calver, FormatError
from image_updater.policy.contest import Contest, Gate
from image_updater.policy.describe import describe
from image_updater.policy.digest import Follow
from image_updater.policy.filters import FilterError, Filters
from image_updater.policy.newest import Newest
from image_updater.policy.numerical import Numerical
from image_updater.policy.ordered import Ordered
from image_updater.policy.ranges import RangeError
from image_updater.policy.semver import Semver

if TYPE_CHECKING:
    from image_updater.api.model import ImagePolicy, Strategy

_RANGE_HELP = "such as '^1.2', '~1.4', '>=1.0 <3', '1.2 - 1.4.5', '1.x || 2.x'; '>=1.0.0-0' takes pre-releases"
_CALVER_HELP = "tokens of calver.org: YYYY YY 0Y MM 0M WW 0W DD 0D MAJOR MINOR MICRO MODIFIER, as in YYYY.0M.MICRO"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledPolicy:
    """A valid policy. Two of one policy are equal."""

    policy: ImagePolicy
    contest: Contest = field(compare=False, repr=False)
    filters: Filters = field(compare=False, repr=False)
    reflects: bool = field(compare=False)
    """Digests are written."""


def compile(policy: ImagePolicy) -> CompiledPolicy:  # noqa: A001  `policy.compile` reads as what it does.
    """Raises SpecError naming the field."""
    try:
        parse_name(policy.image)
    except SpecError as error:
        raise _invalid(policy, "image", error.message, error.remedy or "such as ghcr.io/acme/web") from error
    try:
        filters = Filters.compile(policy.filter_tags, policy.deny)
        reflection = policy.reflection
        if isinstance(policy.strategy, DigestPolicy):
            reflection = DigestReflection.ALWAYS
        reflects = reflection is not DigestReflection.NEVER
        gate = Gate(str(reflection) if reflects else None, filters.denied_digests)
        contest = _contest(policy.strategy, filters, gate)
    except FilterError as error:
        raise _invalid(policy, error.field, error.message, error.remedy) from error
    except RangeError as error:
        raise _invalid(policy, "policy.semver.range", str(error), _RANGE_HELP) from error
    except FormatError as error:
        raise _invalid(policy, "policy.calver.format", str(error), _CALVER_HELP) from error
    return CompiledPolicy(policy=policy, contest=contest, filters=filters, reflects=reflects)


def _contest(strategy: Strategy, filters: Filters, gate: Gate) -> Contest:
    text = describe(strategy)
    match strategy:
        case SemverPolicy():
            return Ordered(filters, gate, Semver.compile(strategy), text)
        case NumericalPolicy():
            return Ordered(filters, gate, Numerical.compile(strategy), text)
        case AlphabeticalPolicy():
            return Ordered(filters, gate, Alphabetical.compile(strategy), text)
        case CalverPolicy():
            return Ordered(filters, gate, Calver.compile(strategy.format), text)
        case NewestPolicy():
            return Newest(filters, gate, strategy.by, text)
        case DigestPolicy():
            if not is_tag(strategy.tag):
                raise FilterError("policy.digest.tag", f"{strategy.tag!r} is not a tag", "name one tag, such as latest")
            return Follow(filters, gate, strategy.tag)
        case _:
            assert_never(strategy)


def _invalid(policy: ImagePolicy, field: str, message: str, remedy: str) -> SpecError:
    source = policy.meta.source
    path = f"spec.{field}"
    place = source.where
    where = (
        place(path)
        if place is not None
        else Where(file=source.file, line=source.line, field=path, object=f"ImagePolicy {policy.key}")
    )
    return SpecError(message, where=where, remedy=remedy)
