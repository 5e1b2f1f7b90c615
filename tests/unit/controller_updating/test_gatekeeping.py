"""What Flagger's gates decide, from placements, situations and facts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from image_updater import policy as policies
from image_updater.api.model import (
    Freeze,
    ImagePolicy,
    ImageUpdateAutomation,
    Meta,
    ObjectKey,
    Objects,
    Quarantine,
    SemverPolicy,
    Verify,
    Window,
)
from image_updater.api.wishes import DenyWish, Wishes
from image_updater.controller.loop.gatekeeping import CANARIES, Gatekeeper, Knowledge
from image_updater.errors import AccessDenied, RegistryError
from image_updater.images import Digest
from image_updater.kustomize.model import ObjectId
from image_updater.pipeline.answers.outcome import Outcome
from image_updater.pipeline.answers.situations import Situations
from image_updater.pipeline.report import AutomationReport
from image_updater.pipeline.rollback.placements import Placement, Value
from image_updater.policy.model import TagFacts, Verified
from image_updater.policy.situation import Hold, Origin, Proven, Quarantined

NOW = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
IMAGE = "registry.example.com/acme/web"
POLICY = ImagePolicy(meta=Meta(key=ObjectKey("apps", "web")), image=IMAGE, strategy=SemverPolicy(range="*"))
FLEET = ImageUpdateAutomation(meta=Meta(key=ObjectKey("apps", "fleet")), source_ref=ObjectKey("apps", "fleet"))
DAYTIME = Window(cron="0 9 * * *", duration=timedelta(hours=8), time_zone="UTC")
GOOD = Digest("sha256:" + "1" * 64)
BAD = Digest("sha256:" + "2" * 64)
NOTHING = f"nothing holds {IMAGE}:1.1.0"


@dataclass
class Cluster:
    """One Canary, or what happens when it is read."""

    body: dict[str, Any] | None = field(
        default_factory=lambda: {"spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}}
    )
    error: Exception | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    async def get(self, resource: Any, name: str, namespace: str | None = None) -> Any:
        assert resource == CANARIES
        self.asked.append((name, namespace))
        if self.error is not None:
            raise self.error
        return self.body


def target(name: str, *, namespace: str = "apps", kind: str = "Deployment") -> ObjectId:
    return ObjectId(group="apps", kind=kind, namespace=namespace, name=name)


def placement(**changes: Any) -> Placement:
    made = Placement(
        automation=FLEET.key,
        policy="apps/web",
        name="apps/web",
        root="apps/web",
        folder="apps/web",
        object=target("web"),
        container="web",
        path=("spec", "template", "spec", "containers", 0, "image"),
        image=IMAGE,
        value=Value("1.1.0"),
        site="web.yaml:1",
        file="web.yaml",
    )
    return replace(made, **changes)


@dataclass
class World:
    """Everything that a gatekeeper is told, and the gatekeeper."""

    cluster: Cluster = field(default_factory=Cluster)
    situations: Situations = field(default_factory=Situations)
    policies: tuple[ImagePolicy, ...] = (POLICY,)
    automations: tuple[ImageUpdateAutomation, ...] = (FLEET,)
    facts: dict[str, TagFacts] = field(default_factory=dict)
    released: list[ObjectKey] = field(default_factory=list)
    signed: dict[Digest | None, Verified | Exception | None] = field(default_factory=dict)
    """By digest (None = of the tag as it is now) what the check of signatures finds."""
    now: datetime = NOW
    shard: str = ""

    def __post_init__(self) -> None:
        self.gates = Gatekeeper(
            cluster=lambda: self.cluster,  # type: ignore[arg-type,return-value]
            clock=lambda: self.now,
            leader=lambda: "10.0.0.5:8080",
            shard=self.shard,
        )
        self.gates.begin(
            Knowledge(
                situations=self.situations,
                answers=lambda: {
                    str(each.key): Outcome(
                        policy=str(each.key), spec=each, reason="", compiled=policies.compile(each), facts=self.facts
                    )
                    for each in self.policies
                },
                automations=lambda: self.automations,
                verified=self.verified,
                released=self.released.append,
            )
        )
        self.adopt()
        self.ran(placement())

    async def verified(self, policy: ImagePolicy, tag: str, digest: Digest | None) -> Verified | None:
        found = self.signed.get(digest)
        if isinstance(found, Exception):
            raise found
        return found

    def adopt(self, **objects: Any) -> None:
        self.situations.adopt(Objects(policies=self.policies, automations=self.automations, **objects))

    def ran(self, *placements: Placement, automation: ObjectKey = FLEET.key, error: Any = None) -> None:
        report = SimpleNamespace(automations={str(automation): AutomationReport(placements=placements, error=error)})
        self.gates.ran(report, [automation])  # type: ignore[arg-type]

    async def ask(self, kind: str = "confirm-rollout") -> tuple[bool, str]:
        return await self.gates.decide("apps", "web", kind, "85d557f47b", {})


CONFIRM = ("confirm-rollout", "confirm-promotion")


async def test_with_nothing_against_it_both_gates_are_open_and_nothing_is_rolled_back() -> None:
    world = World()
    for kind in CONFIRM:
        assert await world.ask(kind) == (True, NOTHING)
    assert await world.ask("rollback") == (False, "nobody took it back")
    assert world.cluster.asked == [("web", "apps")] * 3


# ------------------------------------------------------------------------------------------------ what closes them


@pytest.mark.parametrize("kind", CONFIRM)
async def test_windows_close_the_gates_until_they_open(kind: str) -> None:
    world = World(policies=(replace(POLICY, windows=(DAYTIME,)),))
    passes, reason = await world.ask(kind)
    assert not passes
    assert reason == "apps/web: the windows are closed, and open at 09:00"
    world.now = NOW + timedelta(hours=7)
    assert await world.ask(kind) == (True, NOTHING)


async def test_the_windows_of_the_automation_count_too() -> None:
    world = World(automations=(replace(FLEET, windows=(DAYTIME,)),))
    passes, reason = await world.ask()
    assert not passes
    assert reason.endswith("and open at 09:00 (of ImageUpdateAutomation apps/fleet)")


async def test_a_freeze_closes_the_gates_until_it_ends() -> None:
    world = World()
    key = ObjectKey("apps", "night")
    world.adopt(freezes=(Freeze(meta=Meta(key=key), reason="audit", expires=NOW + timedelta(hours=1)),))
    passes, reason = await world.ask()
    assert (passes, reason) == (False, "apps/web: Freeze apps/night stops it until 04:00: audit")
    world.now += timedelta(hours=1)
    assert (await world.ask())[0]


async def test_a_hold_of_everything_closes_them_and_one_up_to_a_tag_does_not() -> None:
    world = World()
    world.situations.held("apps/web", Hold(reason="rolled back", tag="1.2.0", since=NOW))
    assert (await world.ask())[0]
    world.situations.held("apps/web", Hold(reason="incident 7", by="ops"))
    passes, reason = await world.ask()
    assert not passes
    assert "held by ops: incident 7" in reason


async def test_the_breaker_closes_them() -> None:
    world = World()
    world.situations.breaker("apps/web", "two tags failed in a row")
    passes, reason = await world.ask()
    assert not passes
    assert "two tags failed in a row" in reason


@pytest.mark.parametrize(
    ("verified", "passes", "word"),
    [
        (Verified(ok=True, reason="signed by key cosign.pub"), True, "nothing holds"),
        (Verified(ok=False, reason="not signed (yet)"), False, "not verified yet: not signed (yet)"),
        (Verified(ok=False, reason="wrong", lasting=True), False, "not verified: wrong"),
        (None, False, "signatures were not checked yet"),
    ],
    ids=["signed", "unsigned", "wrong", "unknown"],
)
async def test_verification_is_of_the_bytes_that_git_names(verified: Verified | None, passes: bool, word: str) -> None:
    world = World(policies=(replace(POLICY, verify=Verify(secret_ref="keys")),))
    world.signed = {None: verified, GOOD: verified, BAD: Verified(ok=False, reason="junk", lasting=True)}
    for value in (Value("1.1.0"), Value("1.1.0", GOOD)):
        world.ran(placement(value=value))
        found, reason = await world.ask()
        assert found is passes
        assert word in reason
    # The tag may have other bytes by now, whose signatures say nothing of those that go out.
    world.facts["1.1.0"] = TagFacts(digest=GOOD, verified=Verified(ok=True, reason="signed"))
    world.ran(placement(value=Value("1.1.0", BAD)))
    found, reason = await world.ask()
    assert not found
    assert "not verified: junk" in reason


async def test_signatures_that_cannot_be_checked_hold() -> None:
    world = World(policies=(replace(POLICY, verify=Verify(secret_ref="keys")),))
    world.signed = {None: RegistryError("cut")}
    assert await world.ask() == (False, "apps/web: the signatures of 1.1.0 cannot be checked: cut")


def _quarantine(**what: Any) -> Quarantine:
    return Quarantine(meta=Meta(key=ObjectKey("apps", "q")), image=IMAGE, reason="5xx", **what)


async def test_a_quarantined_value_goes_no_further_and_is_rolled_back() -> None:
    world = World()
    world.facts["1.1.0"] = TagFacts(digest=GOOD)
    world.adopt(quarantines=(_quarantine(tag="1.1.0", digest=GOOD),))
    for kind in CONFIRM:
        passes, reason = await world.ask(kind)
        assert not passes
        assert "1.1.0 is quarantined by Quarantine apps/q: 5xx" in reason
    passes, reason = await world.ask("rollback")
    assert passes
    assert reason == "apps/web: 1.1.0 is quarantined by Quarantine apps/q: 5xx"
    world.ran(placement(value=Value("1.1.0", BAD)))
    assert not (await world.ask("rollback"))[0]
    assert (await world.ask())[0]


async def test_a_record_of_a_rollback_takes_a_value_back_too() -> None:
    world = World()
    entry = Quarantined(image=IMAGE, tag="1.1.0", reason="crash", source="commit 12345678", origin=Origin.COMMIT)
    world.situations.recorded("fleet@main", [entry])
    assert await world.ask("rollback") == (True, "apps/web: 1.1.0 is quarantined by commit 12345678: crash")


async def test_what_a_person_denied_is_rolled_back_with_the_persons_words() -> None:
    world = World()
    wish = DenyWish(what="1.1.0", by="ada", at=NOW, reason="loses orders")
    world.situations.wished("apps/web", Wishes(denied=(wish,)))
    passes, reason = await world.ask("rollback")
    assert passes
    assert reason.startswith("apps/web: 1.1.0 is denied by ada at ")
    assert reason.endswith("Z: loses orders")


# ------------------------------------------------------------------------------------------------ going back


async def test_a_proven_value_may_go_out_at_night_but_not_through_a_freeze() -> None:
    world = World(policies=(replace(POLICY, windows=(DAYTIME,)),))
    world.situations.breaker("apps/web", "two tags failed in a row")
    proven = Proven(tag="1.1.0", at=NOW - timedelta(days=3), environment="apps/web")
    world.situations.proven("apps/web", [proven])
    assert await world.ask() == (True, NOTHING)
    world.situations.proven("apps/web", [replace(proven, withdrawn=NOW)])
    assert not (await world.ask())[0]
    world.situations.proven("apps/web", [replace(proven, digest=GOOD)])
    world.ran(placement(value=Value("1.1.0", BAD)))
    assert not (await world.ask())[0]
    world.ran(placement(value=Value("1.1.0", GOOD)))
    assert (await world.ask())[0]
    world.adopt(freezes=(Freeze(meta=Meta(key=ObjectKey("apps", "night")), reason="audit"),))
    passes, reason = await world.ask()
    assert not passes
    assert "Freeze apps/night" in reason
    assert "windows" not in reason


# ------------------------------------------------------------------------------------------------ whose images


async def test_every_policy_of_the_target_counts_and_no_other() -> None:
    side = replace(POLICY, meta=Meta(key=ObjectKey("apps", "side")), image="registry.example.com/acme/side")
    world = World(policies=(POLICY, side))
    mine = placement(policy="apps/side", name="apps/side", image=side.image, container="side")
    other = replace(mine, object=target("web-primary"))
    elsewhere = replace(mine, object=target("web", namespace="shop"))
    kind = replace(mine, object=target("web", kind="DaemonSet"))
    world.situations.held("apps/side", Hold(reason="incident 7"))
    world.ran(placement(), other, elsewhere, kind)
    assert (await world.ask())[0]
    world.ran(placement(), mine)
    passes, reason = await world.ask()
    assert not passes
    assert reason.startswith("apps/side: ")


async def test_what_is_rendered_without_a_namespace_is_meant() -> None:
    world = World()
    world.situations.held("apps/web", Hold(reason="incident 7"))
    world.ran(placement(object=target("web", namespace="")))
    assert not (await world.ask())[0]


async def test_a_target_that_no_policy_claims_is_nobodys_to_hold() -> None:
    world = World()
    world.ran()
    nobody = "no policy claims an image of its target"
    assert await world.ask() == (True, nobody)
    assert await world.ask("rollback") == (False, nobody)


async def test_until_all_automations_were_read_nobody_can_say_that_no_policy_claims_it() -> None:
    late = replace(FLEET, meta=Meta(key=ObjectKey("apps", "late")))
    world = World(automations=(FLEET, late))
    assert (await world.ask())[0]
    world.ran()
    passes, reason = await world.ask()
    assert not passes
    assert "ImageUpdateAutomation apps/late was not read yet" in reason
    world.ran(automation=late.key, error=RegistryError("cut"))
    assert not (await world.ask())[0]
    world.automations = (FLEET, replace(late, suspend=True))
    assert (await world.ask())[0]


async def test_a_run_that_failed_keeps_what_is_known_and_an_automation_that_is_gone_claims_nothing() -> None:
    world = World()
    world.situations.held("apps/web", Hold(reason="incident 7"))
    world.ran(error=RegistryError("cut"))
    assert not (await world.ask())[0]
    world.automations = ()
    assert await world.ask() == (True, "no policy claims an image of its target")


# ------------------------------------------------------------------------------------------------ what is not known


@pytest.mark.parametrize("kind", [*CONFIRM, "rollback"])
async def test_what_cannot_be_known_holds_and_rolls_nothing_back(kind: str) -> None:
    world = World()
    world.adopt(quarantines=(_quarantine(tag="1.1.0"),))
    world.cluster.error = AccessDenied("canaries is forbidden")
    assert await world.ask(kind) == (False, "Canary apps/web cannot be read: canaries is forbidden")
    world.cluster.error, world.cluster.body = None, None
    assert await world.ask(kind) == (False, "there is no Canary apps/web")
    world.cluster = None  # type: ignore[assignment]
    assert await world.ask(kind) == (False, "there is no connection to the cluster yet")
    world.gates.end()
    assert await world.ask(kind) == (False, "this replica does not lead, and knows nothing of policies")


async def test_another_replica_is_asked_only_while_this_one_does_not_lead() -> None:
    world = World()
    assert world.gates.elsewhere() == ""
    world.gates.end()
    assert world.gates.elsewhere() == "10.0.0.5:8080"


@pytest.mark.parametrize("kind", [*CONFIRM, "rollback"])
async def test_a_shard_lets_nothing_go_that_may_be_another_shards(kind: str) -> None:
    world = World(shard="shard=a")
    world.ran(placement(object=target("another")))
    reason = "no policy claims an image of its target in the shard shard=a: ask the Service of the shard that has them"
    assert await world.ask(kind) == (False, reason)


async def test_a_policy_without_an_answer_holds() -> None:
    world = World()
    world.policies = ()
    assert await world.ask() == (False, "apps/web: there is no answer yet")


@pytest.mark.parametrize("body", [{}, {"spec": None}, {"spec": {"targetRef": None}}])
async def test_a_canary_without_a_target_is_about_nothing(body: dict[str, Any]) -> None:
    world = World(cluster=Cluster(body=body))
    assert await world.ask() == (True, "no policy claims an image of its target")


# ------------------------------------------------------------------------------------------------ news


async def test_news_of_a_canary_have_its_branches_looked_at() -> None:
    world = World()
    await world.gates.heard("apps", "web", "post-rollout", "Failed")
    assert world.released == [FLEET.key]
    world.cluster.error = AccessDenied("canaries is forbidden")
    await world.gates.heard("apps", "web", "event", "Progressing")
    world.gates.end()
    await world.gates.heard("apps", "web", "event", "Progressing")
    assert world.released == [FLEET.key]
