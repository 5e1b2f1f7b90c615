"""People first, from Git alone (design section 7): a value that a person took back is not written again.

A site is held when the newest commit that changed it is a person's and an earlier one of ours set it. The hold blocks
every tag up to the one that was displaced, by the policy's own order; a newer one ends it (with `hold: untilResume`
only a resume does). A rollback of ours displaces in the same way. `Image-Updater: hold` in a person's commit blocks
every tag, until `resume`, which ends every hold of these files that was there when it was said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from image_updater.api.model import DigestPolicy, HoldUntil
from image_updater.git import End, Value
from image_updater.images import parse_name, same_image
from image_updater.patch.decisions import State
from image_updater.pipeline.people.contested import steps
from image_updater.pipeline.people.past import is_from_us, rollback_of
from image_updater.pipeline.people.pins import Asked, before, entries
from image_updater.pipeline.people.places import Versions, places
from image_updater.pipeline.people.record import Record
from image_updater.policy.model import MoveKind
from image_updater.policy.situation import Hold

if TYPE_CHECKING:
    from image_updater.api.model import ImagePolicy
    from image_updater.git import Chain, Changed
    from image_updater.images import ImageName
    from image_updater.kustomize.model import Tree
    from image_updater.patch.decisions import Choice, Decision
    from image_updater.pipeline.people.contested import Step
    from image_updater.pipeline.people.past import Past
    from image_updater.pipeline.people.pins import Rendering
    from image_updater.pipeline.people.record import Directive
    from image_updater.policy.model import Selection

Resumed = Callable[["ImagePolicy"], "datetime | None"]
"""When somebody last said that this policy may go on."""

SHALLOW: Final = (
    "the history that is here ends before the newest commit of ours on some of these sites (a shallow clone): what"
    " people took back there cannot be seen; `git fetch --unshallow` brings the rest"
)

RESUMES: Final = "a commit with `Image-Updater: resume` or `image-updater resume`"
"""What ends any hold that Git leaves."""


# ------------------------------------------------------------------------------------------------- judging one site


def judge(
    chain: Chain,
    selection: Selection,
    choice: Choice,
    *,
    proposed: Sequence[Step] = (),
    resumed: datetime | None = None,
    over: Callable[[str], bool] = lambda _: False,
) -> Hold | None:
    """Is the selection held at a place with this past? Pure.

    `proposed`: moves of ours that wait to be merged. `resumed`: holds that began until then are over. `over`: did a
    later commit say so of what this one began?
    """
    now = chain.changes[0].after if chain.changes else None
    for value, change in _displaced(chain.changes, now, selection, proposed):
        if (resumed is not None and change.commit.when <= resumed) or over(change.commit.id):
            continue
        ended = _newer(selection, choice, value) or _other_bytes(value, change, selection)
        if choice.policy.hold is HoldUntil.RESUME or not ended:
            return _hold(value, change, selection, choice)
    return None


def _displaced(
    changes: Sequence[Changed], now: Value | None, selection: Selection, proposed: Sequence[Step]
) -> Iterator[tuple[Value, Changed]]:
    """What was displaced and may not come back, by whom: a value of ours by a person, any by a rollback. A rollback
    ends nothing of what was before it.
    """
    while changes:
        last = next(
            (
                number
                for number, change in enumerate(changes)
                if is_from_us(change) or _proposed(change.after, selection, proposed)
            ),
            None,
        )
        if last is None:
            return
        ours = changes[last]
        if last > 0 and changes[0].after != ours.after and now != ours.after:
            yield ours.after or Value(), changes[0]
        if rollback_of(ours) is None:
            return
        if ours.before is not None and now != ours.before:
            yield ours.before, ours
        changes = changes[last + 1 :]


def _newer(selection: Selection, choice: Choice, displaced: Value) -> bool:
    """Does the selection end a hold that began when this value was displaced?"""
    if isinstance(choice.policy.strategy, DigestPolicy):
        return selection.digest is not None and displaced.digest not in (None, selection.digest)
    if displaced.tag is None and displaced.digest is None:
        return displaced.name is None or displaced.name != selection.name
    if displaced.tag == selection.tag:
        return False
    return choice.move(displaced.tag, displaced.digest).kind is MoveKind.UP


def _other_bytes(displaced: Value, change: Changed, selection: Selection) -> bool:
    """Is it what a rollback took back, pushed again with bytes that its record does not call bad? That is a new
    candidate (design section 9); what a person took back stays back.
    """
    known = selection.facts.get(selection.tag)
    digest = selection.digest or (known.digest if known is not None else None)
    if rollback_of(change) is None or displaced.tag != selection.tag or digest is None:
        return False
    bad = Record().on([change.commit], lambda _: None).quarantined
    name = parse_name(selection.name)
    digests = {each.digest for each in bad if each.tag == selection.tag and same_image(each.image, name)}
    return bool(digests) and None not in digests and digest not in digests


def _proposed(value: Value | None, selection: Selection, known: Iterable[Step]) -> bool:
    """Is it a value that waits on a push branch of ours (or waited there), merged under a person's name?"""
    if value is None:
        return False
    name = parse_name(selection.name)
    wanted = {value.tag, value.digest} - {None}
    return any(step.policy == selection.policy and same_image(step.image, name) and wanted & step.new for step in known)


def _hold(displaced: Value, change: Changed, selection: Selection, choice: Choice) -> Hold:
    commit = change.commit
    who = f"{commit.id[:12]} by {commit.author.name} ({commit.when.date().isoformat()})"
    digest = isinstance(choice.policy.strategy, DigestPolicy)
    end = "other bytes end it" if digest else f"a tag newer than {displaced.tag or displaced} ends it"
    lasts = choice.policy.hold is HoldUntil.RESUME
    why = rollback_of(change)
    if why is not None:
        text = f"{who} rolled {displaced} back ({why})"
    elif change.after is None:
        text = f"{who} took {displaced} out"
    else:
        text = f"{who} replaced {displaced} by {change.after}"
    return Hold(
        reason=f"held: {text}; " + (f"{RESUMES} ends it (hold: untilResume)" if lasts else f"{end}, or {RESUMES}"),
        by=commit.author.name,
        since=commit.when,
        tag=displaced.tag,
        digest=displaced.digest,
        until_resume=lasts,
    )


def _told(directive: Directive) -> Hold:
    where = "the branch" if directive.files is None else "the files that it touches"
    who = f"{directive.commit[:12]} by {directive.author} ({directive.when.date().isoformat()})"
    return Hold(
        reason=f"held: {who} says `Image-Updater: hold` for {where}; {RESUMES} ends it",
        by=directive.author,
        since=directive.when,
        until_resume=True,
    )


# ------------------------------------------------------------------------------------------------- all of a plan


@dataclass(slots=True)
class Held:
    """`sites`: (site id, or `id@root` of an insert, and policy) → why; `holds` by policy; `notes` for the report."""

    sites: dict[tuple[str, str], str] = field(default_factory=dict)
    holds: dict[str, dict[Hold, None]] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    def put(self, site: str, policy: str, hold: Hold) -> None:
        self.sites[site, policy] = hold.reason
        self.holds.setdefault(policy, {})[hold] = None

    def learn(self, other: Held) -> bool:
        """Take over what was found; True when some site is held that was not."""
        new = bool(other.sites.keys() - self.sites.keys())
        self.sites |= other.sites
        for policy, holds in other.holds.items():
            self.holds.setdefault(policy, {}).update(holds)
        self.notes |= other.notes
        return new

    def by_policy(self) -> dict[str, tuple[Hold, ...]]:
        return {policy: tuple(holds) for policy, holds in self.holds.items()}


async def find(
    decisions: Iterable[Decision],
    choices: Mapping[str, Choice],
    tree: Tree,
    past: Past,
    resumed: Resumed,
    rendering: Rendering,
) -> Held:
    """The planned moves that people, or a rollback, hold. `tree` is what was planned on."""
    found = Held()
    record = past.record()
    asked: list[Asked] = []
    versions = Versions(tree)
    wrote: dict[ImageName, frozenset[str]] = {}
    for decision in decisions:
        policy = decision.policy
        if not decision.changes or decision.state is not State.UPDATED or policy is None:
            continue
        choice = choices[policy]
        if choice.selection is None:
            continue
        files = dict.fromkeys((decision.site.file, *(change.file for change in decision.changes)))
        directive = record.directive(files)
        since = resumed(choice.policy)
        if directive is not None and not (since is not None and directive.when <= since):
            found.put(decision.site.id, policy, _told(directive))
            continue
        image = parse_name(choice.selection.name)
        if image not in wrote:
            wrote[image] = await asyncio.to_thread(past.wrote, image)
        folders = tuple(dict.fromkeys(rendering.roots[root].path for root in decision.roots))
        taken_out = entries(decision, versions, wrote[image], rendering.roots)
        asked += (
            Asked(name=name, policy=policy, image=image, wanted=wanted, folders=folders)
            for name, wanted in (*places(decision, versions), *taken_out)
        )
    if not asked:
        return found
    chains = await past.chains((each.wanted for each in asked), versions.known)
    proposed = steps(past.proposed())
    for each in asked:
        choice, over = choices[each.policy], _over(past, each.wanted.file)
        selection = choice.selection
        assert selection is not None
        ours = any(record.moved(each.image)) or any(same_image(step.image, each.image) for step in proposed)
        waiting = [chains[each.wanted]]
        while waiting:
            chain = waiting.pop(0)
            hold = judge(chain, selection, choice, proposed=proposed, resumed=resumed(choice.policy), over=over)
            if hold is not None:
                found.put(each.name, each.policy, hold)
                break
            if chain.end is End.BOUNDARY and not any(is_from_us(change) for change in chain.changes):
                found.notes[SHALLOW] = None
            waiting += await before(chain, each, past, rendering) if ours else ()
    return found


def _over(past: Past, file: str) -> Callable[[str], bool]:
    """Was a resume for this file said on top of a commit? Clocks of two people do not tell."""
    resumes = past.record().resumes(file)
    return lambda began: any(past.history.follows(each, began) for each in resumes)
