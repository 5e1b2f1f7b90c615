"""Answers behind gates: what is asked for, what is remembered, and what changes by itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from image_updater.api.decode import SpecErrors
from image_updater.api.model import (
    DigestReflection,
    Freeze,
    Meta,
    ObjectKey,
    Objects,
    Secret,
    SemverPolicy,
    Verify,
    Window,
)
from image_updater.api.wishes import HoldWish, Wishes
from image_updater.images import parse_name
from image_updater.pipeline.answers.selection import Selector
from image_updater.pipeline.answers.tagfacts import GateFacts
from image_updater.pipeline.answers.tagsfile import TagsFile
from image_updater.policy.model import Fate, Verified
from image_updater.policy.situation import Hold, Origin, Quarantined
from image_updater.registry import ImageFacts
from image_updater.registry.errors import RegistryUnavailable
from image_updater.store import Store
from tests.unit.pipeline_selection.fakes import IMAGE, START, Clock, FakeRegistry, digest, policy, selector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from image_updater.pipeline.answers.outcome import Outcome

NAME = "default/web"
DAY = timedelta(days=1)
OLD = policy(min_age=3 * DAY)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "state") as opened:
        yield opened


def chosen(outcome: Outcome) -> str | None:
    return outcome.selection.tag if outcome.selection is not None else None


async def test_an_age_counts_from_when_the_bytes_were_first_seen_and_passes_without_a_request(store: Store) -> None:
    registry, clock = FakeRegistry("1.0.0"), Clock()
    chooser = selector(registry, clock=clock, store=store)
    outcome = (await chooser.select([OLD]))[NAME]
    assert chosen(outcome) is None
    assert outcome.held
    assert outcome.until == START + 3 * DAY
    assert "eligible at 2024-05-04T12:00Z" in outcome.reason
    clock.forward(days=2, hours=23)
    assert chosen((await chooser.select([OLD]))[NAME]) is None
    calls = dict(registry.calls)
    clock.forward(hours=1)
    assert chooser.is_stale(OLD)
    assert chosen((await chooser.regate([OLD]))[NAME]) == "1.0.0"
    assert registry.calls == calls
    assert not chooser.is_stale(OLD)


async def test_new_bytes_under_the_tag_begin_anew_and_the_one_before_stays_chosen(store: Store) -> None:
    registry, clock = FakeRegistry("1.0.0", "1.1.0"), Clock()
    chooser = selector(registry, clock=clock, store=store)
    await chooser.select([OLD])
    clock.forward(days=4)
    assert chosen((await chooser.refresh([OLD]))[NAME]) == "1.1.0"
    registry.push("1.1.0", content="other bytes")
    outcome = (await chooser.refresh([OLD]))[NAME]
    assert chosen(outcome) == "1.0.0"
    assert "1.1.0 is eligible at" in outcome.reason
    assert outcome.until == clock() + 3 * DAY


async def test_a_push_time_counts_for_the_bytes_that_the_list_names_alone(store: Store) -> None:
    class Dated(FakeRegistry):
        """Says push times and digests with the list, as Google's registries do."""

        async def tags(self, image, access, **how):  # type: ignore[no-untyped-def, override]
            plain = await super().tags(image, access, **how)
            pushed = dict.fromkeys(plain.tags, START - 30 * DAY)
            return replace(plain, fingerprint=repr(self.digests), pushed=pushed, digests=dict(self.digests))

    registry, clock = Dated("1.0.0", "1.1.0"), Clock()
    chooser = selector(registry, clock=clock, store=store)
    assert chosen((await chooser.select([OLD]))[NAME]) == "1.1.0"
    registry.push("1.1.0", content="other bytes")
    outcome = (await chooser.hint(parse_name(IMAGE), "1.1.0", [OLD]))[NAME]
    assert chosen(outcome) == "1.0.0"
    assert outcome.until == START + 3 * DAY


async def test_of_very_many_tags_with_an_age_few_are_looked_at(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    make = GateFacts._make
    monkeypatch.setattr(GateFacts, "_make", lambda facts, tag: looked.append(tag) or make(facts, tag))
    registry, clock = FakeRegistry("0.0.1"), Clock()
    chooser = selector(registry, clock=clock, store=store)
    await chooser.select([OLD])
    for number in range(2_000):
        registry.push(f"1.{number}.0")
    clock.forward(days=1)
    await chooser.refresh([OLD])
    clock.forward(days=4)
    await chooser.refresh([OLD])
    looked.clear()
    registry.push("1.2000.0")
    outcome = (await chooser.refresh([OLD]))[NAME]
    assert chosen(outcome) == "1.1999.0"
    assert len(looked) < 50
    assert len(outcome.facts) == 2_002
    assert outcome.facts["1.7.0"].first_seen == START + DAY
    assert "7.0.0" not in outcome.facts


async def test_an_age_survives_a_restart_and_the_loss_of_the_state_file(tmp_path: Path) -> None:
    registry, clock = FakeRegistry("1.0.0"), Clock()
    with Store.open(tmp_path / "one") as store:
        await selector(registry, clock=clock, store=store).select([OLD])
    clock.forward(days=4)
    with Store.open(tmp_path / "one") as store:
        assert chosen((await selector(registry, clock=clock, store=store).select([OLD]))[NAME]) == "1.0.0"
    with Store.open(tmp_path / "lost") as store:
        chooser = selector(registry, clock=clock, store=store)
        chooser.remember_seen(OLD, [("1.0.0", str(digest("1.0.0")), START)])
        assert chosen((await chooser.select([OLD]))[NAME]) == "1.0.0"
    with Store.open(tmp_path / "nothing") as store:
        assert chosen((await selector(registry, clock=clock, store=store).select([OLD]))[NAME]) is None


async def test_without_a_state_a_minimal_age_holds_and_says_what_to_do() -> None:
    registry = FakeRegistry("1.0.0")
    outcome = (await selector(registry).select([OLD]))[NAME]
    assert chosen(outcome) is None
    assert "--state FILE" in outcome.reason
    assert registry.calls == {"tags": 1}


async def test_with_a_tags_file_nobody_is_asked_about_gates() -> None:
    file = TagsFile.parse('[{"tag": "1.1.0"}, {"tag": "1.0.0", "platforms": ["linux/amd64"]}]', file="tags.json")
    chooser = selector(None, tags=file)
    outcome = (await chooser.select([policy(platforms=("linux/amd64",))]))[NAME]
    assert chosen(outcome) == "1.0.0"
    signed = (await chooser.select([policy(name="signed", verify=Verify(secret_ref="key"))]))["default/signed"]
    assert chosen(signed) is None
    assert "signature" in signed.reason


class Platforms(FakeRegistry):
    """Images of the platforms that `of` says."""

    of: dict[str, tuple[str, ...]]

    async def describe(self, image: object, reference: str, access: object) -> ImageFacts:  # type: ignore[override]
        self._call("describe")
        tag = next(tag for tag, known in self.digests.items() if reference in {tag, known})
        return ImageFacts(digest=self.digests[tag], media_type="", platforms=self.of[tag])


async def test_platforms_are_asked_for_once_a_digest_and_only_as_far_as_needed(tmp_path: Path) -> None:
    registry = Platforms(*(f"1.{n}.0" for n in range(50)))
    registry.of = dict.fromkeys(registry.digests, ("linux/amd64", "linux/arm64")) | {"1.49.0": ("linux/amd64",)}
    wanted = policy(platforms=("linux/amd64", "linux/arm64"))
    with Store.open(tmp_path / "state") as store:
        chooser = selector(registry, store=store)
        outcome = (await chooser.select([wanted]))[NAME]
        assert chosen(outcome) == "1.48.0"
        assert "not for linux/arm64" in outcome.reason
        asked = registry.calls["describe"]
        assert asked <= 3  # those that do not pass, and as many ahead
        await chooser.refresh([wanted])
    with Store.open(tmp_path / "state") as store:
        assert chosen((await selector(registry, store=store).select([wanted]))[NAME]) == "1.48.0"
    assert registry.calls["describe"] == asked


async def test_a_quarantine_takes_effect_without_a_new_list_and_ends_the_same_way() -> None:
    registry = FakeRegistry("1.0.0", "1.1.0")
    chooser = selector(registry)
    plain = policy()
    assert chosen((await chooser.select([plain]))[NAME]) == "1.1.0"
    bad = Quarantined(image=IMAGE, tag="1.1.0", reason="crash loop", source="commit 12ab34", origin=Origin.COMMIT)
    chooser.situations.recorded("default/fleet", [bad])
    outcome = (await chooser.select([plain]))[NAME]
    assert chosen(outcome) == "1.0.0"
    assert outcome.judgement is not None
    assert {v.tag: v.fate for v in outcome.judgement.verdicts}["1.1.0"] is Fate.REJECTED
    chooser.situations.recorded("default/fleet", [])
    assert chosen((await chooser.select([plain]))[NAME]) == "1.1.0"
    assert registry.calls == {"tags": 1}


async def test_what_turned_bad_while_it_was_planned_is_not_written() -> None:
    chooser = selector(FakeRegistry("1.0.0", "1.1.0"))
    plain = policy(preflight=False)
    planned = (await chooser.select([plain]))[NAME].selection
    assert planned is not None
    assert await chooser.missing(plain, planned) is None
    chooser.situations.recorded("default/fleet", [Quarantined(image=IMAGE, tag="1.1.0", reason="crash loop")])
    assert "1.1.0 is quarantined: crash loop" in (await chooser.missing(plain, planned) or "")
    chooser.situations.recorded("default/fleet", [Quarantined(image=IMAGE, tag="1.0.0")])
    assert await chooser.missing(plain, planned) is None
    chooser.situations.wished(NAME, Wishes(hold=HoldWish(reason="a sale is on")))
    assert "a sale is on" in (await chooser.missing(plain, planned) or "")


async def test_bad_bytes_stay_bad_under_another_tag_and_other_bytes_are_new() -> None:
    registry = FakeRegistry("1.0.0")
    bad = registry.push("1.1.0", content="bad")
    registry.push("1.2.0", content="bad")
    chooser = selector(registry)
    chooser.situations.recorded("default/fleet", [Quarantined(image=IMAGE, tag="1.1.0", digest=str(bad))])
    assert chosen((await chooser.select([policy()]))[NAME]) == "1.0.0"
    registry.push("1.2.0", content="mended")
    assert chosen((await chooser.refresh([policy()]))[NAME]) == "1.2.0"


async def test_a_digest_that_is_written_is_asked_for_the_tag_that_passes() -> None:
    registry = FakeRegistry("1.0.0", "1.1.0")
    chooser = selector(registry)
    chooser.situations.recorded("default/fleet", [Quarantined(image=IMAGE, tag="1.1.0")])
    outcome = (await chooser.select([policy(reflection=DigestReflection.ALWAYS)]))[NAME]
    assert outcome.selection is not None
    assert (outcome.selection.tag, outcome.selection.digest) == ("1.0.0", digest("1.0.0"))


async def test_a_hold_that_ends_gives_way_to_the_one_behind_it() -> None:
    registry, clock = FakeRegistry("1.0.0", "1.1.0", "1.2.0"), Clock()
    chooser = selector(registry, clock=clock)
    chooser.situations.held(NAME, Hold(reason="rolled back", tag="1.2.0", since=START))
    for_an_hour = HoldWish(reason="a sale is on", at=START, until=START + timedelta(hours=1))
    chooser.situations.wished(NAME, Wishes(hold=for_an_hour))
    outcome = (await chooser.select([policy()]))[NAME]
    assert "a sale is on" in outcome.reason
    assert outcome.until == START + timedelta(hours=1)
    clock.forward(hours=1)
    outcome = (await chooser.regate([policy()]))[NAME]
    assert chosen(outcome) is None
    assert "held up to 1.2.0: rolled back" in outcome.reason
    registry.push("1.3.0")
    assert chosen((await chooser.refresh([policy()]))[NAME]) == "1.3.0"


async def test_a_window_opens_and_closes_by_itself() -> None:
    registry, clock = FakeRegistry("1.0.0"), Clock()
    chooser = selector(registry, clock=clock)
    nightly = policy(windows=(Window(cron="0 22 * * *", duration=timedelta(hours=2)),))
    outcome = (await chooser.select([nightly]))[NAME]
    assert chosen(outcome) is None
    assert outcome.until == START.replace(hour=22)
    clock.now = START.replace(hour=22)
    assert chosen((await chooser.regate([nightly]))[NAME]) == "1.0.0"
    clock.forward(hours=2)
    assert chosen((await chooser.regate([nightly]))[NAME]) is None
    clock.forward(hours=-1)  # the clock is set back into the window
    assert chosen((await chooser.regate([nightly]))[NAME]) == "1.0.0"
    assert registry.calls == {"tags": 1}


async def test_a_failure_to_look_at_bytes_decides_nothing(store: Store) -> None:
    registry = FakeRegistry("1.0.0")
    chooser = selector(registry, store=store)
    registry.fail["head"] = RegistryUnavailable("no route")
    outcome = (await chooser.select([OLD]))[NAME]
    assert isinstance(outcome.error, RegistryUnavailable)
    assert chosen(outcome) is None


class Slow(FakeRegistry):
    """`asked` is set when the digest of 1.0.0 is asked for, and the answer waits for `go`."""

    def __init__(self, *tags: str) -> None:
        super().__init__(*tags)
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def head(self, image, reference, access):  # type: ignore[no-untyped-def, override]
        found = await super().head(image, reference, access)
        if reference == "1.0.0":
            self.asked.set()
            await self.go.wait()
        return found


@pytest.mark.parametrize("fails", [False, True], ids=["another list", "no answer"])
async def test_who_still_judges_the_list_before_does_not_undo_what_the_registry_says_now(fails: bool) -> None:
    registry = Slow("1.0.0")
    chooser = selector(registry)
    plain = policy()
    assert chosen((await chooser.select([plain]))[NAME]) == "1.0.0"
    # Bytes are bad now: that must be looked at, and meanwhile the list is asked.
    chooser.situations.recorded("default/fleet", [Quarantined(image=IMAGE, tag="0.9", digest=str(digest("0.9")))])
    again = asyncio.create_task(chooser.regate([plain]))
    await registry.asked.wait()
    registry.push("1.1.0")
    if fails:
        registry.fail["tags"] = RegistryUnavailable("no route")
    await chooser.refresh([plain])
    registry.go.set()
    await again
    assert chosen(chooser.answers[NAME]) == (None if fails else "1.1.0")


# ------------------------------------------------------------------------------------------------- signatures


class Signatures:
    """Answers by digest, and counts."""

    def __init__(self, answers: dict[str, Verified]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def verify(self, source: object, digest: str, verify: Verify, **_: object) -> Verified:
        self.asked.append(digest)
        return self.answers[digest]


def verifying(
    registry: FakeRegistry, verifier: Signatures, store: Store, clock: Clock, key: bytes = b"one"
) -> Selector:
    return Selector(
        store=store,
        secrets=lambda name: Secret(meta=Meta(key=name), data={"cosign.pub": key}),
        environment={},
        clock=clock,
        registry=registry,  # type: ignore[arg-type]
        durable=True,
        verifier=verifier,
    )


async def test_signatures_are_checked_by_digest_and_what_lasts_is_never_asked_again(store: Store) -> None:
    registry, clock = FakeRegistry("1.0.0", "1.1.0"), Clock()
    unsigned, good = (
        Verified(ok=False, reason="not signed"),
        Verified(ok=True, reason="signed by key one", lasting=True),
    )
    verifier = Signatures({digest("1.0.0"): good, digest("1.1.0"): unsigned})
    signed = policy(verify=Verify(secret_ref="key"))
    chooser = verifying(registry, verifier, store, clock)
    assert chosen((await chooser.select([signed]))[NAME]) == "1.0.0"
    assert sorted(verifier.asked) == sorted([digest("1.0.0"), digest("1.1.0")])
    verifier.answers[digest("1.1.0")] = replace(good)
    await chooser.select([signed])
    assert len(verifier.asked) == 2
    assert chosen((await chooser.refresh([signed]))[NAME]) == "1.1.0"
    assert verifier.asked[2:] == [digest("1.1.0")]
    again = verifying(registry, verifier, store, clock)
    assert chosen((await again.select([signed]))[NAME]) == "1.1.0"
    assert len(verifier.asked) == 3


async def test_a_good_signature_by_a_key_that_is_not_trusted_any_more_does_not_count(store: Store) -> None:
    registry, clock = FakeRegistry("1.0.0"), Clock()
    verifier = Signatures({digest("1.0.0"): Verified(ok=True, reason="signed by key one", lasting=True)})
    signed = policy(verify=Verify(secret_ref="key"))
    assert chosen((await verifying(registry, verifier, store, clock).select([signed]))[NAME]) == "1.0.0"
    verifier.answers[digest("1.0.0")] = Verified(ok=False, reason="signed by another key", lasting=True)
    other = verifying(registry, verifier, store, clock, key=b"two")
    assert chosen((await other.select([signed]))[NAME]) is None


async def test_what_was_verified_is_what_is_written_without_a_preflight_too(store: Store) -> None:
    registry, clock = FakeRegistry("1.0.0"), Clock()
    verifier = Signatures({digest("1.0.0"): Verified(ok=True, reason="signed by key one", lasting=True)})
    signed = policy(verify=Verify(secret_ref="key"), preflight=False)
    chooser = verifying(registry, verifier, store, clock)
    selection = (await chooser.select([signed]))[NAME].selection
    assert selection is not None
    assert selection.digest is None
    assert await chooser.missing(signed, selection) is None
    registry.push("1.0.0", content="somebody else's")
    assert "has other bytes now" in (await chooser.missing(signed, selection) or "")
    plain = policy(name="plain", preflight=False)
    selection = (await chooser.select([plain]))["default/plain"].selection
    assert selection is not None
    heads = registry.calls["head"]
    assert await chooser.missing(plain, selection) is None
    assert registry.calls["head"] == heads


# ------------------------------------------------------------------------------------------------- groups


async def test_a_group_takes_the_best_tag_that_all_of_them_have() -> None:
    web, api = FakeRegistry("1.0.0", "1.1.0", "1.2.0"), FakeRegistry("1.0.0", "1.1.0")

    class Two(FakeRegistry):
        async def tags(self, image, access, **how):  # type: ignore[no-untyped-def, override]
            return await (web if image == parse_name(IMAGE) else api).tags(image, access, **how)

    members = [policy(group="shop"), policy(name="api", image="registry.test/acme/api", group="shop")]
    chooser = selector(Two())
    chooser.situations.adopt(Objects(policies=tuple(members)))
    answers = await chooser.select(members[:1])
    assert {name: chosen(answer) for name, answer in answers.items()} == {NAME: "1.1.0", "default/api": "1.1.0"}
    assert "1.2.0 is not taken by default/api" in answers[NAME].reason
    api.push("1.2.0")
    answers = await chooser.refresh(members[1:])
    assert {name: chosen(answer) for name, answer in answers.items()} == {NAME: "1.2.0", "default/api": "1.2.0"}
    api.fail["tags"] = RegistryUnavailable("no route")
    await chooser.refresh(members[1:])
    assert chosen((await chooser.select(members[:1]))[NAME]) is None


async def test_a_group_of_two_strategies_stands_still_and_is_invalid_in_files() -> None:
    members = (policy(group="shop"), policy(SemverPolicy(range="^2"), name="api", group="shop"))
    chooser = selector(FakeRegistry("1.0.0", "2.0.0"))
    chooser.situations.adopt(Objects(policies=members))
    answers = await chooser.select(members)
    assert [chosen(answer) for answer in answers.values()] == [None, None]
    assert all("choose differently" in answer.reason for answer in answers.values())
    with pytest.raises(SpecErrors, match=r"choose differently .*the same spec\.policy"):
        chooser.check(Objects(policies=members))


async def test_a_group_of_one_moves_and_says_that_it_is_alone() -> None:
    mistyped = policy(name="api", image="registry.test/acme/api", group="shpo")
    members = [policy(group="shop"), mistyped]
    chooser = selector(FakeRegistry("1.0.0"))
    chooser.situations.adopt(Objects(policies=tuple(members)))
    answers = await chooser.select(members)
    assert [chosen(answer) for answer in answers.values()] == ["1.0.0", "1.0.0"]
    assert answers["default/api"].notes == ("it is the only policy of group 'shpo': nothing else moves with it",)
    together = [members[0], replace(mistyped, group="shop")]
    chooser.situations.adopt(Objects(policies=tuple(together)))
    assert all(answer.notes == () for answer in (await chooser.select(together)).values())


async def test_policies_without_gates_cost_nothing_more() -> None:
    registry = FakeRegistry("1.0.0")
    chooser = selector(registry)
    plain = policy()
    first = (await chooser.select([plain]))[NAME]
    assert first.gated is None
    assert (await chooser.select([plain]))[NAME] is first
    freeze = Freeze(meta=Meta(key=ObjectKey("other", "night")), reason="the night")
    chooser.situations.adopt(Objects(policies=(plain,), freezes=(freeze,)))
    assert (await chooser.select([plain]))[NAME] is first
