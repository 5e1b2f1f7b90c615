"""What decides over each policy beside its tags, gathered from everybody who knows a part of it.

Objects bring freezes and quarantines, people their wishes, branches what their commits record, the cluster what became
of rollouts and which nodes it has. Each of them sets its part through one small method; `of()` puts the parts together
for one policy, and who subscribed hears which policies' situation really changed. Nothing is decided here, and nobody
is asked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from image_updater.api.model import Start
from image_updater.api.wishes import Wishes, wishes_of
from image_updater.images import canonical
from image_updater.pipeline.answers.grouping import apart, groups
from image_updater.pipeline.answers.outcome import policy_name
from image_updater.pipeline.answers.wishing import merged
from image_updater.policy.gates.freezes import applies
from image_updater.policy.situation import Hold, Origin, Proven, Quarantined, Situation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from image_updater.api.model import Freeze, ImagePolicy, ObjectKey, Objects, Quarantine

NOTHING: Final = Situation()
"""The situation of a policy that nobody said anything about."""

T = TypeVar("T")

DERIVED: Final = "commit "
"""How the source of a Quarantine begins that was derived from the trailer of a commit."""


class Situations:
    """The parts, by who brings them. One for a process; to be used from one thread."""

    def __init__(self) -> None:
        self._freezes: tuple[Freeze, ...] = ()
        self._quarantines: tuple[Quarantine, ...] = ()
        self._by_image: dict[str, list[tuple[str | None, Quarantined]]] = {}
        """Quarantines and records by canonical image; with the namespace that they bind, None = all."""
        self.objects: dict[str, ImagePolicy] = {}
        """The policies that have an object, by name."""
        self.apart: dict[str, str] = {}
        """By policy, why its group cannot move in one commit."""
        self.groups: dict[tuple[str, str], frozenset[str]] = {}
        """By namespace and name of a group its policies."""
        self._wishes: dict[str, Wishes] = {}
        self._resumed: dict[str, Wishes] = {}
        self._records: dict[str, tuple[str | None, tuple[Quarantined, ...]]] = {}
        self._released: dict[str, tuple[Quarantined, ...]] = {}
        self._failed: dict[str, tuple[Quarantined, ...]] = {}
        self._held: dict[str, Hold] = {}
        self._proven: dict[str, tuple[Proven, ...]] = {}
        self._files: dict[str, dict[str, tuple[tuple[Proven, ...] | None, str]]] = {}
        self._starts: dict[str, tuple[tuple[Proven, ...], str]] = {}
        self._nodes: tuple[str, ...] | None = None
        self._breakers: dict[str, str] = {}
        self._groups: dict[str, tuple[Mapping[str, frozenset[str]], str]] = {}
        self._known: dict[str, tuple[ImagePolicy, Situation]] = {}
        self._callbacks: list[Callable[[frozenset[str]], None]] = []

    # ------------------------------------------------------------------------------------------------- reading

    def of(self, policy: ImagePolicy) -> Situation:
        """All of it for one policy; the very same value until something changes."""
        name = policy_name(policy)
        known = self._known.get(name)
        if known is not None and (known[0] is policy or known[0] == policy):
            return known[1]
        found = self._make(name, policy)
        if known is not None and known[1] == found:
            found = known[1]
        self._known[name] = (policy, found)
        return found

    def wishes(self, policy: ImagePolicy) -> Wishes:
        """What people ask of it, by annotations, by the state file and by commits: the later wins."""
        name = policy_name(policy)
        asked = merged(wishes_of(policy.meta), self._wishes.get(name, Wishes()))
        return merged(asked, self._resumed[name]) if name in self._resumed else asked

    def proven_by(self, policy: str) -> tuple[Proven, ...]:
        """What this process knows that the policy has proven."""
        return self._proven.get(policy, ())

    def records(self) -> Iterable[tuple[str | None, tuple[Quarantined, ...], tuple[Quarantined, ...]]]:
        """The namespace that a branch's record binds (None = all), what it says is bad, and what people have lifted."""
        return tuple((space, bad, self._released.get(name, ())) for name, (space, bad) in self._records.items())

    def subscribe(self, callback: Callable[[frozenset[str]], None]) -> None:
        """`callback(names)` after each change, with the policies whose situation is another one now."""
        self._callbacks.append(callback)

    # ------------------------------------------------------------------------------------------------- the parts

    def adopt(self, objects: Objects, policies: Mapping[ObjectKey, ImagePolicy | None] | None = None) -> None:
        """Freezes, quarantines and policies of these objects. `policies`: those that may differ, None for gone ones."""
        if policies is None:
            specs = self.objects = {policy_name(policy): policy for policy in objects.policies}
        else:
            specs = {str(key): policy for key, policy in policies.items() if policy is not None}
            self.forget(str(key) for key, policy in policies.items() if policy is None)
            self.objects |= specs
        grouped = any(policy.group is not None for policy in self.objects.values())
        self.apart = apart(objects) if grouped else {}
        by_group = groups(self.objects.values()) if grouped else {}
        self.groups = {group: frozenset(map(policy_name, members)) for group, members in by_group.items()}
        everything = self._prune(objects)
        if objects.freezes != self._freezes or objects.quarantines != self._quarantines:
            self._freezes, self._quarantines = objects.freezes, objects.quarantines
            self._index()
            everything = True
        for name in self._known.keys() & specs.keys():
            known = self._known[name]
            if known[0] is not specs[name] and known[0] != specs[name]:
                # The new one has its situation when it is asked for; that of the old one tells what has changed.
                self._known[name] = (specs[name], known[1])
        again = self._known.keys() if everything or policies is None else self._known.keys() & specs.keys()
        after = {name for name, (spec, _) in self._known.items() if spec.after is not None}
        self._tell({*again, *after})

    def _prune(self, objects: Objects) -> bool:
        """What branches said that nobody of ours writes to any more binds nobody. True: something went."""
        if not objects.automations:
            return False
        writers = {str(automation.key) for automation in objects.automations}
        gone = (self._records.keys() | self._files.keys()) - writers
        for branch in gone:
            self._records.pop(branch, None)
            self._files.pop(branch, None)
        if gone:
            self._index()
        return bool(gone)

    def forget(self, names: Iterable[str]) -> None:
        """These policies are no more."""
        for name in names:
            self.objects.pop(name, None)
            self._known.pop(name, None)
            parts: tuple[dict[str, Any], ...] = (
                self._wishes,
                self._resumed,
                self._failed,
                self._held,
                self._proven,
                self._starts,
                self._breakers,
                self._groups,
            )
            for part in parts:
                part.pop(name, None)
            for files in self._files.values():
                files.pop(name, None)

    def wished(self, policy: str, wishes: Wishes) -> None:
        """What people asked of it by the state file."""
        self._set(self._wishes, policy, wishes if wishes != Wishes() else None)

    def resumed(self, policy: str, at: datetime | None, by: str = "") -> None:
        """When a commit said last that an annotation's policy may go on: it has no object where anybody else could."""
        self._set(self._resumed, policy, Wishes(resumed=at, resumed_by=by) if at is not None else None)

    def recorded(
        self,
        branch: str,
        quarantined: Sequence[Quarantined],
        *,
        namespace: str | None = None,
        released: Sequence[Quarantined] = (),
    ) -> None:
        """What the commits of a branch record as bad, and what people have lifted there. It binds the policies of
        `namespace`, None = all.
        """
        record = (namespace, tuple(quarantined))
        self._released[branch] = tuple(released)
        if self._records.get(branch, (namespace, ())) == record:
            return
        self._records[branch] = record
        self._index()
        self._tell(self._known.keys())

    def failed(self, policy: str, quarantined: Sequence[Quarantined]) -> None:
        """Images whose rollout failed here, and that Git keeps (`onFailure: hold`)."""
        self._set(self._failed, policy, tuple(quarantined) or None)

    def held(self, policy: str, hold: Hold | None) -> None:
        """A hold that follows from a rollback: until a newer tag, or until somebody says resume."""
        self._set(self._held, policy, hold)

    def proven(self, policy: str, proven: Sequence[Proven]) -> None:
        """What this process knows that the policy has proven; () is an answer, too."""
        if self._proven.get(policy) == tuple(proven):
            return
        self._proven[policy] = tuple(proven)
        followers = {
            name
            for name, (spec, _) in self._known.items()
            if spec.after is not None and f"{spec.key.namespace}/{spec.after.name}" == policy
        }
        self._tell({policy, *followers})

    def proven_file(self, branch: str, policy: str, proven: Sequence[Proven] | None, source: str) -> None:
        """What the file of `spec.after.provenFile` of `policy` says in a branch about the policy that it follows.

        None: it cannot be read, and `source` says why and where.
        """
        made = (None if proven is None else tuple(proven), source)
        files = self._files.setdefault(branch, {})
        if files.get(policy) != made:
            files[policy] = made
            self._tell({policy})

    def started(self, policy: str, proven: Sequence[Proven], problem: str = "") -> None:
        """For `start: proven`: what Git says that was proven elsewhere or before, () = nothing (then it holds until the
        value that Git has is proven here); `problem`: why that is not known.
        """
        self._set(self._starts, policy, (tuple(proven), problem))

    def nodes(self, platforms: Sequence[str] | None) -> None:
        """The platforms of the cluster's nodes; None = not known."""
        made = None if platforms is None else tuple(sorted(set(platforms)))
        if made != self._nodes:
            self._nodes = made
            self._tell({name for name, (spec, _) in self._known.items() if spec.from_nodes})

    def breaker(self, policy: str, reason: str) -> None:
        """Why nothing more is written for it; '' closes the breaker."""
        self._set(self._breakers, policy, reason or None)

    def grouped(self, policy: str, others: Mapping[str, frozenset[str]], problem: str = "") -> None:
        """For `group`: what each of the other members would take, or why the group cannot move."""
        self._set(self._groups, policy, (others, problem))

    # ------------------------------------------------------------------------------------------------- together

    def _set(self, part: dict[str, T], policy: str, value: T | None) -> None:
        if part.get(policy) == value:
            return
        if value is None:
            del part[policy]
        else:
            part[policy] = value
        self._tell({policy})

    def _tell(self, names: Iterable[str]) -> None:
        changed: set[str] = set()
        for name in tuple(names):
            known = self._known.get(name)
            if known is None:
                continue
            found = self._make(name, known[0])
            if found != known[1]:
                self._known[name] = (known[0], found)
                changed.add(name)
        if changed:
            for callback in self._callbacks:
                callback(frozenset(changed))

    def _index(self) -> None:
        self._by_image = {}
        for each in self._quarantines:
            self._add(None if each.cluster else each.key.namespace, _of_object(each))
        derived = {
            (each.key.namespace, _canonical(each.image), each.tag, each.digest)
            for each in self._quarantines
            if each.source.startswith(DERIVED)
        }
        for namespace, record in self._records.values():
            for quarantined in record:
                # Where its object stands, that counts: a person may have given it an end.
                place = (namespace, _canonical(quarantined.image), quarantined.tag, quarantined.digest)
                if place not in derived:
                    self._add(namespace, quarantined)

    def _add(self, namespace: str | None, quarantined: Quarantined) -> None:
        self._by_image.setdefault(_canonical(quarantined.image), []).append((namespace, quarantined))

    def _make(self, name: str, policy: ImagePolicy) -> Situation:
        wishes = self.wishes(policy)
        failed = (each for each in self._failed.get(name, ()) if not _over(each, wishes.resumed))
        found = Situation(
            freezes=tuple(freeze for freeze in self._freezes if applies(freeze, policy)),
            quarantined=(*self._bad(policy), *failed),
            hold=self._hold(name, wishes),
            denied=tuple(dict.fromkeys(wishes.denied)),
            approvals=wishes.approvals,
            node_platforms=self._nodes if policy.from_nodes else None,
            breaker=self._breakers.get(name, ""),
        )
        if policy.after is not None:
            upstream, source = self._upstream(name, policy)
            found = replace(found, upstream=upstream, upstream_source=source)
        if policy.group is not None:
            others, problem = self._groups.get(name, (None, ""))
            found = replace(found, group=others, group_problem=problem)
        start = self._starts.get(name)
        if policy.start is Start.PROVEN and not self._proven.get(name) and start is not None:
            proven, problem = start
            found = replace(found, start=None if problem else proven, start_problem=problem)
        return NOTHING if found == NOTHING else found

    def _bad(self, policy: ImagePolicy) -> tuple[Quarantined, ...]:
        if not self._by_image:
            return ()
        found = self._by_image.get(_canonical(policy.image), ())
        return tuple(dict.fromkeys(each for namespace, each in found if namespace in (None, policy.key.namespace)))

    def _hold(self, name: str, wishes: Wishes) -> Hold | None:
        """A person's word comes first, then what a rollback left."""
        found: Hold | None = None
        held = self._held.get(name)
        if held is not None and not (wishes.resumed and held.since and held.since <= wishes.resumed):
            found = held
        wish = wishes.hold
        if wish is not None and not (wishes.resumed and wish.at and wish.at <= wishes.resumed):
            found = Hold(reason=wish.reason, by=wish.by, since=wish.at, until=wish.until, then=found)
        return found

    def _upstream(self, name: str, policy: ImagePolicy) -> tuple[tuple[Proven, ...] | None, str]:
        """What the policy of `after` has proven, and where that was read, or why there is no answer."""
        assert policy.after is not None
        upstream = f"{policy.key.namespace}/{policy.after.name}"
        file = policy.after.proven_file
        if file is not None:
            answers = [files[name] for files in self._files.values() if name in files]
            good = [(proven, source) for proven, source in answers if proven is not None]
            if good:
                return tuple(dict.fromkeys(each for proven, _ in good for each in proven)), good[0][1]
            return None, answers[0][1] if answers else f"{file} of the planned branch was not read yet"
        if upstream not in self.objects:
            return None, f"there is no ImagePolicy {upstream}"
        proven = self._proven.get(upstream)
        if proven is None:
            return None, (
                f"nothing here sees what ImagePolicy {upstream} has proven: no Kustomization of this process applies"
                " it; name spec.after.provenFile"
            )
        return proven, f"ImagePolicy {upstream}"


def _of_object(quarantine: Quarantine) -> Quarantined:
    kind = "ClusterQuarantine" if quarantine.cluster else "Quarantine"
    derived = quarantine.source.startswith(DERIVED)
    return Quarantined(
        image=quarantine.image,
        tag=quarantine.tag,
        digest=quarantine.digest,
        reason=quarantine.reason,
        source=quarantine.source if derived else f"{kind} {quarantine.key}",
        origin=Origin.COMMIT if derived else Origin.PERSON,
        since=quarantine.since,
        expires=quarantine.expires,
    )


def _over(failed: Quarantined, resumed: datetime | None) -> bool:
    """Has somebody said since that it may go on?"""
    return resumed is not None and failed.since is not None and failed.since <= resumed


def _canonical(image: str) -> str:
    return canonical(image) or image
