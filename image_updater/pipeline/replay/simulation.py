"""What policies would have committed over a past time: the same judgement and the same gates, with a simulated clock.

Time goes from event to event: a tag appears, a tag gets other bytes, a gate says that waiting is over, a window opens.
Between two events nothing can change, so nothing is looked at. Pure: histories come in, what would have happened goes
out.

What a replay takes for granted, and says: every rollout is healthy at once (so `after` sees what was committed),
nobody holds or reverts, every image passes preflight.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from image_updater import policy as policies_room
from image_updater.api.model import NewestBy, NewestPolicy, Objects
from image_updater.api.wishes import ApprovalWish, Wishes
from image_updater.pipeline.answers.grouping import groups
from image_updater.pipeline.answers.outcome import policy_name
from image_updater.pipeline.answers.situations import Situations
from image_updater.pipeline.replay.pasttags import LONG_AGO, PastTags, without_unplayable
from image_updater.policy.gates.blocked import GateName, earliest
from image_updater.policy.gates.groups import disagreement, divided
from image_updater.policy.gates.windows import opening
from image_updater.policy.gating import Gated, gate, takes
from image_updater.policy.model import MoveKind, Selection, TagFacts
from image_updater.policy.movement import may_replace
from image_updater.policy.situation import Proven

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from image_updater.api.model import ImagePolicy, ImageUpdateAutomation
    from image_updater.policy import CompiledPolicy, Judged
    from image_updater.policy.tagset import TagSet

MOST_MOMENTS: Final = 200_000
"""Looks at one policy; a window that opens every minute would make any number of them."""
SHOWN: Final = 50
"""Tags that are named as passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit that would have been made."""

    at: datetime
    tag: str
    digest: str | None
    before: str | None
    """What Git would have held until then."""
    reason: str
    appeared: datetime | None
    held_by: tuple[str, ...] = ()
    """The gates that it had to wait for, by their fields."""

    @property
    def waited(self) -> timedelta | None:
        return self.at - self.appeared if self.appeared is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What still waits at the end."""

    tag: str
    reason: str
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One policy."""

    policy: str
    image: str
    start: str | None
    """What it would have held at the beginning."""
    commits: tuple[Commit, ...] = ()
    passed_over: tuple[str, ...] = ()
    """Tags that were the best for a while and were never committed."""
    waiting: Waiting | None = None
    notes: tuple[str, ...] = ()

    @property
    def end(self) -> str | None:
        return self.commits[-1].tag if self.commits else self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What is known of that time: tags by canonical image, and, by policy, approvals and what others have proven."""

    tags: Mapping[str, PastTags]
    approvals: Mapping[str, tuple[ApprovalWish, ...]] = field(default_factory=dict)
    proven: Mapping[str, tuple[Proven, ...]] = field(default_factory=dict)


def replay(
    objects: Objects, past: Past, *, since: datetime, until: datetime, assume_approved: bool = False
) -> tuple[Replayed, ...]:
    """In the order of the objects. `assume_approved`: people agree to everything at once. Raises SpecError for a policy
    that is invalid.
    """
    return _Replay(objects, past, since, until, assume_approved).run()


class _Player:
    """One policy on its way through time."""

    def __init__(self, policy: ImagePolicy, compiled: CompiledPolicy, past: PastTags, since: datetime) -> None:
        self.name = policy_name(policy)
        self.policy = policy
        self.compiled = compiled
        # What Git holds at the beginning came there before: no window was closed then, and nobody is asked for it.
        self.before = policies_room.compile(replace(policy, windows=(), approvals=0))
        self.past = past
        self.notes: list[str] = []
        self.automations: tuple[ImageUpdateAutomation, ...] = ()
        self.tags: TagSet | tuple[str, ...] = ()
        self.facts: dict[str, TagFacts] = {}
        self.judged: Judged | None = None
        self.gated: Gated | None = None
        self.tag: str | None = None
        self.digest: str | None = None
        self.start: str | None = None
        self.commits: list[Commit] = []
        self.proven: list[Proven] = []
        self.held: dict[str, dict[str, None]] = {}
        """By tag, the gates that it waited for."""
        self.best: dict[str, None] = {}
        self.looks = 0
        self._appeared: dict[str, datetime | None] = {}
        self._coming = _events(past, since)

    @property
    def next(self) -> datetime | None:
        return self._coming[0][0] if self._coming else None

    def arrive(self, now: datetime) -> bool:
        """What has come until now; False when nothing new did."""
        fresh: list[tuple[int, int]] = []
        while self._coming and self._coming[0][0] <= now:
            _, position, index = heapq.heappop(self._coming)
            fresh.append((position, index))
        if not fresh:
            return False
        facts = dict(self.facts)  # a judgement still reads the ones before
        for position, index in fresh:
            tag = self.past.tags[position]
            self._appeared.setdefault(tag.tag, tag.begins(index))
            facts[tag.tag] = self.past.facts(self.policy, tag, index)
        if len(facts) != len(self.facts):
            self.tags = tuple(facts)
        self.facts = facts
        return True

    def judge(self, now: datetime) -> Judged:
        self.judged = policies_room.judge(self.compiled, self.tags, self.facts, now=now, previous=self.judged)
        winner = self.judged.outcome.winner
        if winner is not None:
            self.best.setdefault(winner[1])
        return self.judged

    def note(self, gated: Gated) -> None:
        """Which gates hold back what would be written."""
        self.gated = gated
        single = {blocked.tag for blocked in gated.because}
        for blocked in gated.because:
            tag = blocked.tag if blocked.tag is not None else self._would_win(single)
            if tag is not None:
                self.held.setdefault(tag, {}).setdefault(str(blocked.gate))

    def _would_win(self, blocked: set[str | None]) -> str | None:
        """The tag that only what stops the whole policy holds back."""
        if self.judged is None:
            return None
        walked = itertools.islice(self.judged.walk(), len(blocked) + 1)
        winners = (outcome.winner[1] for outcome in walked if outcome.winner is not None)
        return next((tag for tag in winners if tag not in blocked), None)

    def write(self, gated: Gated, now: datetime, *, first: bool) -> bool:
        """Commit what is chosen, where that is no step back; True if something was."""
        selection = policies_room.select(self.compiled, gated, self.facts)
        if selection is None:
            return False
        if self.tag is not None:
            movement = may_replace(self.compiled, selection, self.tag, self.digest, self.facts)
            if movement.kind not in (MoveKind.UP, MoveKind.REPLACE):
                return False
        before = self.tag
        self.tag = selection.tag
        self.digest = str(selection.digest) if selection.digest is not None else None
        known = self.facts[selection.tag]
        since = LONG_AGO if first else now
        self.proven.append(Proven(tag=selection.tag, at=since, digest=str(known.digest) if known.digest else None))
        if first:
            self.start = selection.tag
            return True
        written = selection.digest is not None and selection.digest not in self.past.made_up
        self.commits.append(
            Commit(
                at=now,
                tag=selection.tag,
                digest=str(selection.digest) if written else None,
                before=before,
                reason=selection.reason,
                appeared=known.bytes_seen if before == selection.tag else self._appeared[selection.tag],
                held_by=tuple(self.held.pop(selection.tag, ())),
            )
        )
        return True

    def opening(self, now: datetime) -> tuple[bool, datetime | None]:
        """May any of its automations write now, and when does that change?"""
        if not self.automations:
            return True, None
        found = [opening(automation.windows, now) for automation in self.automations]
        return any(each.open for each in found), earliest(each.until for each in found)

    def _waiting(self, now: datetime) -> Waiting | None:
        """The tag that would be written next, and all that it waits for; `until` where time alone brings it."""
        gated = self.gated
        if gated is None or self.policy.suspend:
            return None
        tag = gated.wanted or (gated.chosen.tag if gated.chosen is not None else None)
        if tag is None or tag == self.tag:
            return None
        next_one = Selection(policy=self.name, name=self.policy.image, tag=tag, facts=self.facts)
        if self.tag and may_replace(self.compiled, next_one, self.tag, None, self.facts).kind is MoveKind.REFUSED:
            return None
        found = [(each.reason, each.until) for each in gated.because if each.tag in (None, tag)]
        is_open, opens = self.opening(now)
        if not is_open:
            found.append((opening(self.automations[0].windows, now).reason, opens))
        reasons = "; ".join(dict.fromkeys(reason for reason, _ in found))
        moments = [until for _, until in found if until is not None]
        until = max(moments, default=None) if len(moments) == len(found) else None
        return Waiting(tag=tag, reason=f"{tag} waits: {reasons}" if reasons else gated.reason, until=until)

    def result(self, notes: Sequence[str], now: datetime) -> Replayed:
        written = {self.start, *(commit.tag for commit in self.commits)}
        passed = [tag for tag in self.best if tag not in written]
        waiting = self._waiting(now)
        if waiting is not None:
            passed = [tag for tag in passed if tag != waiting.tag]
        return Replayed(
            policy=self.name,
            image=self.policy.image,
            start=self.start,
            commits=tuple(self.commits),
            passed_over=(*passed[:SHOWN],),
            waiting=waiting,
            notes=(*notes, *self.notes),
        )


def _events(past: PastTags, since: datetime) -> list[tuple[datetime, int, int]]:
    """(when, position of the tag, number of its digest); what was before `since` is there at `since`."""
    found = []
    for position, tag in enumerate(past.tags):
        for index in range(len(tag.bytes)):
            begins = tag.begins(index)
            found.append((since if begins is None or begins < since else begins, position, index))
    heapq.heapify(found)
    return found


class _Replay:
    def __init__(self, objects: Objects, past: Past, since: datetime, until: datetime, assume_approved: bool) -> None:
        self._since = since
        self._until = until
        self._notes: dict[str, list[str]] = {}
        self._players: dict[str, _Player] = {}
        self._situations = Situations()
        policies = []
        for policy in objects.policies:
            plain, notes = without_unplayable(policy)
            if assume_approved:
                plain = replace(plain, approvals=0)
            policies.append(plain)
            name = policy_name(plain)
            known = past.tags.get(name)
            player = _Player(plain, policies_room.compile(plain), known or PastTags(), since)
            player.automations = tuple(
                each
                for each in objects.automations
                if each.key.namespace == plain.key.namespace and each.policy_selector.matches(plain.meta.labels)
            )
            self._players[name] = player
            self._notes[name] = [*notes, *_notes(plain, player, known, objects, since)]
        self._situations.adopt(
            Objects(policies=tuple(policies), freezes=objects.freezes, quarantines=objects.quarantines)
        )
        self._situations.nodes(())
        self._approvals = {name: list(past.approvals.get(name, ())) for name in self._players}
        for name, proven in past.proven.items():
            if name not in self._players:
                self._situations.proven(name, proven)
        self._outside(past)
        self._groups = {
            policy_name(member): tuple(policy_name(each) for each in members)
            for members in groups(policies).values()
            for member in members
        }
        self._followers: dict[str, list[str]] = {}
        for name, player in self._players.items():
            after = player.policy.after
            if after is not None and after.proven_file is None:
                self._followers.setdefault(f"{player.policy.key.namespace}/{after.name}", []).append(name)

    def _outside(self, past: Past) -> None:
        """What policies wait for that are not replayed themselves."""
        for name, player in self._players.items():
            after = player.policy.after
            if after is None:
                continue
            upstream = f"{player.policy.key.namespace}/{after.name}"
            known = past.proven.get(upstream)
            if after.proven_file is not None:
                source = f"what is kept of {upstream}" if known is not None else "the file of that time is not known"
                self._situations.proven_file("replay", name, known, source)
            if (after.proven_file is not None or upstream not in self._players) and known is None:
                self._notes[name].append(f"nothing is known of what {upstream} had proven: it holds all the time")
            elif upstream in self._players and after.proven_file is None:
                self._notes[name].append(f"as if every rollout of {upstream} had been healthy at once")

    def run(self) -> tuple[Replayed, ...]:
        due: list[tuple[datetime, str]] = [(self._since, name) for name in self._players]
        heapq.heapify(due)
        while due and due[0][0] <= self._until:
            now = due[0][0]
            names: set[str] = set()
            while due and due[0][0] == now:
                names.add(heapq.heappop(due)[1])
            for name in self._settle(names, now):
                player = self._players[name]
                later = self._later(player, now)
                if later is not None and later <= self._until:
                    heapq.heappush(due, (later, name))
        return tuple(player.result(self._notes[name], self._until) for name, player in self._players.items())

    def _settle(self, names: set[str], now: datetime) -> set[str]:
        """Everything that follows from this moment: a commit may let another policy move, or a group."""
        looked: set[str] = set()
        rounds: Counter[str] = Counter()
        while names:
            names |= {member for name in names for member in self._groups.get(name, ())}
            for name in names:
                self._arrive(self._players[name], now)
            for name in sorted(names):
                self._group(name, now)
            moved = [name for name in sorted(names) if self._look(self._players[name], now)]
            looked |= names
            rounds.update(names)
            following = {each for name in moved for each in self._followers.get(name, ())}
            names = {name for name in following if rounds[name] <= len(self._players)}
        return looked

    def _arrive(self, player: _Player, now: datetime) -> None:
        waiting = self._approvals[player.name]
        given = [each for each in waiting if each.at is None or each.at <= now]
        if given:
            self._approvals[player.name] = [each for each in waiting if each not in given]
            known = self._situations.wishes(player.policy).approvals
            self._situations.wished(player.name, Wishes(approvals=(*known, *given)))
        if player.arrive(now) or player.judged is None:
            player.judge(now)

    def _group(self, name: str, now: datetime) -> None:
        """What the other members would take."""
        members = self._groups.get(name)
        if members is None:
            return
        taken = {}
        for each in members:
            other = self._players[each]
            if other.judged is not None:
                situation = self._situations.of(other.policy)
                taken[each] = takes(other.judged, other.compiled, other.facts, situation, now=now).tags
        problem = disagreement(tuple(self._players[each].policy for each in members)) or divided(taken)
        others = {each: frozenset(tags) for each, tags in taken.items() if each != name}
        self._situations.grouped(name, others, problem)

    def _look(self, player: _Player, now: datetime) -> bool:
        """Gate and write; True if it committed."""
        player.looks += 1
        if player.judged is None or player.policy.suspend:
            return False
        situation = self._situations.of(player.policy)
        first = now == self._since
        if first:
            begun = gate(player.judged, player.before, player.facts, replace(situation, freezes=()), now=now)
            begins = player.write(begun, now, first=True)
        gated = gate(player.judged, player.compiled, player.facts, situation, now=now)
        player.note(gated)
        if first:
            self._situations.proven(player.name, tuple(reversed(player.proven)))
            return begins
        is_open, _ = player.opening(now)
        if not is_open:
            if gated.chosen is not None and gated.chosen.tag != player.tag:
                player.held.setdefault(gated.chosen.tag, {}).setdefault(str(GateName.WINDOWS))
            return False
        if not player.write(gated, now, first=False):
            return False
        self._situations.proven(player.name, tuple(reversed(player.proven)))
        return True

    def _later(self, player: _Player, now: datetime) -> datetime | None:
        """When it must be looked at again."""
        if player.looks > MOST_MOMENTS:
            player.notes.append(f"ended at {now:%Y-%m-%dT%H:%MZ}: too many moments at which something could change")
            return None
        moments = [player.next, player.opening(now)[1]]
        if player.gated is not None:
            moments.append(player.gated.until)
        members = self._groups.get(player.name)
        if members is not None and player.judged is not None:
            situation = self._situations.of(player.policy)
            moments.append(takes(player.judged, player.compiled, player.facts, situation, now=now).until)
        moments += [each.at for each in self._approvals[player.name] if each.at is not None]
        return earliest(each for each in moments if each is not None and each > now)


def _notes(
    policy: ImagePolicy, player: _Player, known: PastTags | None, objects: Objects, since: datetime
) -> list[str]:
    if known is None:
        return ["nothing is known of the tags of its image"]
    found = known.notes(policy)
    if isinstance(policy.strategy, NewestPolicy) and policy.strategy.by is NewestBy.CREATED:
        found += known.creation_notes()
    if known.known_from is not None and known.known_from > since:
        found.append(f"its tags are known since {known.known_from:%Y-%m-%d}: before that little happens")
    if policy.suspend:
        found.append("it is suspended: it writes nothing")
    if objects.automations and not player.automations:
        found.append("no ImageUpdateAutomation selects it: as if one did")
    if policy.approvals:
        found.append(f"it asks for {policy.approvals} approvals: only those that are kept count (--assume-approved)")
    return found
