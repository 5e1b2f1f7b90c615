"""Never down: may a selection be written over what a site holds? `plan` asks for each site, `explain --current` too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.api.model import DigestReflection
from image_updater.images import is_tag
from image_updater.policy.contest import Facts
from image_updater.policy.digest import Follow
from image_updater.policy.model import MoveKind, Movement
from image_updater.policy.newest import Newest
from image_updater.policy.ordered import Ordered

if TYPE_CHECKING:
    from image_updater.policy.compiled import CompiledPolicy
    from image_updater.policy.model import Selection


def may_replace(
    compiled: CompiledPolicy, selection: Selection, current_tag: str | None, current_digest: str | None, facts: Facts
) -> Movement:
    """Compare a selection with the tag and digest that stand in Git (None or '' = there is none)."""
    tag, digest = current_tag or None, current_digest or None
    if isinstance(compiled.contest, Follow) and tag is None:
        tag = compiled.contest.tag
    if tag is None:
        return _untagged(compiled, selection, digest, facts)
    if tag == selection.tag:
        return _same_tag(compiled, selection, digest)
    return _moved(compiled, selection, tag, facts)


def _same_tag(compiled: CompiledPolicy, selection: Selection, digest: str | None) -> Movement:
    if selection.digest == digest:
        return _current(f"{selection.tag} is what is chosen")
    if selection.digest is None:
        return _replace(f"{selection.tag} stays; its digest goes, as digests are not written")
    if digest is None:
        return _up(f"{selection.tag} stays; its digest is added")
    if compiled.policy.reflection is DigestReflection.IF_NOT_PRESENT and not isinstance(compiled.contest, Follow):
        return _current(f"{selection.tag} is what is chosen; IfNotPresent keeps the digest that is there")
    return _up(f"{selection.tag} has other bytes now")


def _untagged(compiled: CompiledPolicy, selection: Selection, digest: str | None, facts: Facts) -> Movement:
    if digest is None:
        return _replace("no tag is set")
    known = facts.get(selection.tag)
    if digest in (selection.digest, None if known is None else known.digest):
        return _replace(f"only a digest is set; {selection.tag} has the same bytes")
    moves = [_moved(compiled, selection, tag, facts) for tag, one in sorted(facts.items()) if one.digest == digest]
    if not moves:
        return _replace("only a digest is set, of a tag that is not known")
    # One tag of these bytes that is newer than ours is enough to stay.
    weight = {MoveKind.REFUSED: 2, MoveKind.UP: 1}
    return max(moves, key=lambda move: weight.get(move.kind, 0))


def _moved(compiled: CompiledPolicy, selection: Selection, tag: str, facts: Facts) -> Movement:
    contest = compiled.contest
    if not is_tag(tag):
        return _replace(f"{tag!r} is not a tag")
    if isinstance(contest, Ordered):
        return _ordered(compiled, contest, selection, tag)
    if isinstance(contest, Newest):
        return _dated(compiled, contest, selection, tag, facts)
    return _replace(f"{tag} is not the followed tag")


def _ordered(compiled: CompiledPolicy, contest: Ordered, selection: Selection, tag: str) -> Movement:
    current, chosen = contest.compare_key(tag), contest.compare_key(selection.tag)
    if isinstance(current, str):
        return _replace(f"{tag} cannot be compared: {current}")
    if isinstance(chosen, str):
        # Only a selection of another policy can come here: it says nothing about what is older.
        return _refused(f"{selection.tag} cannot be compared: {chosen}")
    if chosen == current:
        return _replace(f"{selection.tag} is as good as {tag}, and chosen")
    if chosen > current:
        return _up(f"{selection.tag} is {contest.ordering.better} than {tag}")
    return _down(compiled, f"{tag} is {contest.ordering.better} than {selection.tag}")


def _dated(compiled: CompiledPolicy, contest: Newest, selection: Selection, tag: str, facts: Facts) -> Movement:
    ours, theirs = facts.get(selection.tag), facts.get(tag)
    current, chosen = contest.date(theirs), contest.date(ours)
    if current is None and compiled.filters.pattern is not None and not compiled.filters.pattern.match(tag.encode()):
        return _replace(
            f"{tag} cannot be compared: it does not match filterTags.pattern '{compiled.filters.pattern.text}'"
        )
    if current is None or chosen is None:
        unknown = tag if current is None else selection.tag
        return _down(compiled, f"holds: the date of {unknown} ({contest.word}) is not known")
    if chosen > current:
        return _up(f"{selection.tag} is newer than {tag}")
    if chosen < current:
        return _down(compiled, f"{tag} is newer than {selection.tag}")
    if ours is not None and theirs is not None and ours.digest is not None and ours.digest == theirs.digest:
        return _replace(f"{selection.tag} has the date and the bytes of {tag}, and is chosen")
    return _down(compiled, f"holds: {tag} and {selection.tag} have one date and not (known to be) the same bytes")


def _down(compiled: CompiledPolicy, reason: str) -> Movement:
    if compiled.policy.allow_downgrade:
        return _replace(f"{reason}; allowDowngrade is set")
    return _refused(f"{reason}; allowDowngrade is not set")


def _current(reason: str) -> Movement:
    return Movement(kind=MoveKind.CURRENT, reason=reason)


def _up(reason: str) -> Movement:
    return Movement(kind=MoveKind.UP, reason=reason)


def _replace(reason: str) -> Movement:
    return Movement(kind=MoveKind.REPLACE, reason=reason)


def _refused(reason: str) -> Movement:
    return Movement(kind=MoveKind.REFUSED, reason=reason)
