"""From policies to answers: what is asked, what is not, and what an answer may start."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.api.decode import SpecErrors
from image_updater.api.model import DigestPolicy, DigestReflection, NewestBy, NewestPolicy, SemverPolicy
from image_updater.errors import Waiting
from image_updater.images import parse_name
from image_updater.pipeline.answers.tagsfile import TagsFile
from image_updater.pipeline.answers.validity import Validity
from image_updater.policy.model import Fate
from image_updater.registry.errors import RateLimited, RegistryUnavailable
from image_updater.store import Store
from tests.unit.pipeline_selection.fakes import IMAGE, START, Clock, FakeRegistry, digest, newest, policy, selector

if TYPE_CHECKING:
    from pathlib import Path

    from image_updater.images import ImageName
    from image_updater.registry import Access, TagList


async def test_many_policies_of_one_image_cost_one_list() -> None:
    registry = FakeRegistry("1.0.0", "1.1.0", "2.0.0")
    answers = await selector(registry).select(
        [policy(name=f"p{n}") for n in range(50)] + [policy(SemverPolicy(range="^1"), name="one")]
    )
    assert registry.calls == {"tags": 1}
    assert answers["default/p0"].selection is not None
    assert answers["default/p0"].selection.tag == "2.0.0"
    assert answers["default/one"].selection is not None
    assert answers["default/one"].selection.tag == "1.1.0"


async def test_digests_are_asked_only_for_the_winner() -> None:
    registry = FakeRegistry(*(f"1.{n}.0" for n in range(100)))
    answers = await selector(registry).select([policy(reflection=DigestReflection.IF_NOT_PRESENT)])
    selection = answers["default/web"].selection
    assert selection is not None
    assert (selection.tag, selection.digest) == ("1.99.0", digest("1.99.0"))
    assert registry.calls == {"tags": 1, "head": 1}


async def test_a_tag_that_is_listed_but_gone_is_rejected_and_the_next_one_wins() -> None:
    registry = FakeRegistry("1.0.0", "1.1.0")
    del registry.digests["1.1.0"]
    answers = await selector(registry).select([policy(reflection=DigestReflection.ALWAYS)])
    outcome = answers["default/web"]
    assert outcome.selection is not None
    assert outcome.selection.tag == "1.0.0"
    assert outcome.judgement is not None
    assert {v.tag: v.fate for v in outcome.judgement.verdicts} == {"1.0.0": Fate.CHOSEN, "1.1.0": Fate.REJECTED}


async def test_dates_are_fetched_once_and_never_again_even_after_a_restart(tmp_path: Path) -> None:
    registry = FakeRegistry()
    for n in range(20):
        registry.push(f"t{n}", created=datetime(2024, 1, 1 + n, tzinfo=UTC))
    for asked in (20, 20):
        with Store.open(tmp_path / "state") as store:
            answers = await selector(registry, store=store).select([newest()])
        assert answers["default/web"].selection is not None
        assert answers["default/web"].selection.tag == "t19"
        assert registry.calls["describe"] == asked
        assert registry.calls["head"] == 0


async def test_a_run_that_was_cut_short_goes_on_where_it_stopped(tmp_path: Path) -> None:
    registry = FakeRegistry()
    for n in range(100):
        registry.push(f"t{n}", created=START + timedelta(hours=n))
    with Store.open(tmp_path / "state") as store:
        one = selector(registry, store=store)
        registry.fail["describe"] = RateLimited("slow down")
        registry_describe, count = registry.describe, 0

        async def some(*args: object, **kwargs: object) -> object:
            nonlocal count
            count += 1
            if count <= 40:
                registry.fail.pop("describe", None)
            else:
                registry.fail["describe"] = RateLimited("slow down")
            return await registry_describe(*args, **kwargs)  # type: ignore[arg-type]

        registry.describe = some  # type: ignore[method-assign, assignment]
        outcome = (await one.select([newest()]))["default/web"]
    assert isinstance(outcome.error, RateLimited)
    assert outcome.selection is None
    assert "40 of 100 dates known" in outcome.reason
    registry.fail.clear()
    registry.describe = registry_describe  # type: ignore[method-assign]
    registry.calls.clear()
    with Store.open(tmp_path / "state") as store:
        outcome = (await selector(registry, store=store).select([newest()]))["default/web"]
    assert outcome.selection is not None
    assert outcome.selection.tag == "t99"
    assert registry.calls["describe"] == 60


async def test_a_fault_with_one_policy_ends_the_answers_of_no_other(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeRegistry):
        async def tags(self, image: ImageName, access: Access, **more: Any) -> TagList:
            if image.repository == "acme/odd":
                raise ValueError("nobody has thought of this")
            return await super().tags(image, access, **more)

    chooser = selector(Broken("1.0.0"))
    answers = await chooser.select([policy(name="odd", image="registry.test/acme/odd"), policy()])
    assert answers["default/web"].selection is not None
    odd = answers["default/odd"]
    assert (odd.selection, odd.reason) == (None, "unexpected fault: ValueError (see the log, and report it)")
    assert "nobody has thought of this" in caplog.text


async def test_a_kept_old_answer_is_said_and_starts_nothing() -> None:
    registry = FakeRegistry("1.0.0")
    chooser = selector(registry)
    assert (await chooser.select([policy()]))["default/web"].selection is not None
    registry.fail["tags"] = RegistryUnavailable("no route")
    outcome = (await chooser.refresh([policy()]))["default/web"]
    assert outcome.selection is None
    assert outcome.error is not None
    assert "no route" in outcome.reason
    assert "1.0.0" in outcome.reason
    assert (await chooser.select([policy()]))["default/web"].selection is None
    registry.fail.clear()
    assert (await chooser.refresh([policy()]))["default/web"].selection is not None


async def test_a_followed_tag_is_looked_up_again_right_before_planning() -> None:
    registry = FakeRegistry("latest")
    chooser, follow = selector(registry), policy(DigestPolicy(tag="latest"))
    await chooser.select([follow])
    moved = registry.push("latest", "other bytes")
    selection = (await chooser.select([follow]))["default/web"].selection
    assert selection is not None
    assert selection.digest == moved
    assert registry.calls["tags"] == 1


async def test_always_asks_the_digest_with_every_list_and_if_not_present_once() -> None:
    registry = FakeRegistry("1.0.0")
    chooser = selector(registry)
    always = policy(reflection=DigestReflection.ALWAYS, name="always")
    once = policy(reflection=DigestReflection.IF_NOT_PRESENT, name="once")
    await chooser.refresh([always, once])
    old = digest("1.0.0")
    new = registry.push("1.0.0", "other bytes")
    answers = await chooser.refresh([always, once])
    assert answers["default/always"].selection is not None
    assert answers["default/always"].selection.digest == new
    assert answers["default/once"].selection is not None
    assert answers["default/once"].selection.digest == old


async def test_a_list_that_lacks_what_git_holds_is_asked_again_once() -> None:
    registry = FakeRegistry("1.0.0")
    chooser = selector(registry)
    await chooser.select([policy()])
    held = {"default/web": frozenset({"1.1.0"})}
    await chooser.select([policy()], current=held)
    await chooser.select([policy()], current=held)
    assert registry.calls["tags"] == 2


async def test_an_unchanged_list_is_not_judged_again() -> None:
    registry = FakeRegistry("1.0.0")
    chooser = selector(registry)
    first = (await chooser.refresh([policy()]))["default/web"]
    second = (await chooser.refresh([policy()]))["default/web"]
    assert second.judgement is first.judgement


@pytest.mark.parametrize(("left", "said"), [(3, "shrank from 40 tags to 3 tags"), (0, "to none"), (30, "")])
async def test_a_list_that_shrank_is_an_answer_and_says_so(left: int, said: str) -> None:
    registry = FakeRegistry(*(f"1.{n}.0" for n in range(40)))
    chooser = selector(registry)
    await chooser.refresh([policy()])
    del registry.listed[left:]
    outcome = (await chooser.refresh([policy()]))["default/web"]
    assert outcome.error is None
    assert said in " ".join(outcome.notes)
    assert (outcome.selection is not None) == (left > 0)


async def test_a_hint_costs_one_request_and_a_false_one_changes_nothing() -> None:
    registry = FakeRegistry("1.0.0")
    chooser, clock_policy = selector(registry), policy()
    await chooser.select([clock_policy])
    registry.calls.clear()
    registry.push("1.1.0")
    outcome = (await chooser.hint(parse_name(IMAGE), "1.1.0", [clock_policy]))["default/web"]
    assert outcome.selection is not None
    assert outcome.selection.tag == "1.1.0"
    assert registry.calls == {"head": 1}
    outcome = (await chooser.hint(parse_name(IMAGE), "9.9.9", [clock_policy]))["default/web"]
    assert outcome.selection is not None
    assert outcome.selection.tag == "1.1.0"
    assert outcome.error is None


async def test_a_hint_costs_one_request_however_many_look_at_the_image() -> None:
    registry = FakeRegistry("1.0.0")
    chooser, many = selector(registry), [policy(name=f"p{n}") for n in range(100)]
    await chooser.select(many)
    registry.calls.clear()
    registry.push("1.1.0")
    outcomes = await chooser.hint(parse_name(IMAGE), "1.1.0", many)
    assert {each.selection and each.selection.tag for each in outcomes.values()} == {"1.1.0"}
    assert registry.calls == {"head": 1}
    registry.push("1.1.0", "other bytes")
    await chooser.hint(parse_name(IMAGE), "1.1.0", many)
    assert registry.calls == {"head": 2}
    registry.fail["head"] = RegistryUnavailable("down")
    failed = await chooser.hint(parse_name(IMAGE), "1.2.0", many[:3])
    assert all(each.error is not None and each.selection is None for each in failed.values())


async def test_a_hinted_tag_that_vanishes_before_the_next_list_is_gone() -> None:
    registry = FakeRegistry("1.0.0")
    chooser = selector(registry)
    await chooser.select([policy()])
    registry.digests["1.1.0"] = digest("1.1.0")
    outcome = (await chooser.hint(parse_name(IMAGE), "1.1.0", [policy()]))["default/web"]
    assert outcome.selection is not None
    assert outcome.selection.tag == "1.1.0"
    outcome = (await chooser.refresh([policy()]))["default/web"]
    assert outcome.selection is not None
    assert outcome.selection.tag == "1.0.0"


async def test_after_a_restart_young_answers_are_known_without_a_request_and_old_ones_start_nothing(
    tmp_path: Path,
) -> None:
    registry, clock = FakeRegistry("1.0.0"), Clock()
    with Store.open(tmp_path / "state", clock=clock) as store:
        await selector(registry, clock=clock, store=store).refresh([policy()])
    registry.calls.clear()
    clock.forward(minutes=1)
    with Store.open(tmp_path / "state", clock=clock) as store:
        outcome = (await selector(registry, clock=clock, store=store).restore([policy()]))["default/web"]
        assert outcome.selection is not None
        clock.forward(hours=1)
        outcome = (await selector(registry, clock=clock, store=store).restore([policy()]))["default/web"]
    assert isinstance(outcome.error, Waiting)
    assert outcome.selection is None
    assert not registry.calls


async def test_first_seen_dates_only_what_came_after_the_first_list(tmp_path: Path) -> None:
    registry, clock = FakeRegistry("b", "a"), Clock()
    first_seen = policy(NewestPolicy(by=NewestBy.FIRST_SEEN))
    with Store.open(tmp_path / "state") as store:
        chooser = selector(registry, clock=clock, store=store)
        assert (await chooser.refresh([first_seen]))["default/web"].selection is None
        clock.forward(minutes=5)
        registry.push("0")
        outcome = (await chooser.refresh([first_seen]))["default/web"]
    assert outcome.selection is not None
    assert outcome.selection.tag == "0"


async def test_with_a_tags_file_nothing_is_ever_asked() -> None:
    tags = TagsFile.parse(f'["2.0.0", {{"tag": "1.0.0", "digest": "{digest("x")}"}}]', file="tags")
    chooser = selector(None, tags=tags)
    answers = await chooser.select(
        [policy(name="plain"), policy(name="digests", reflection=DigestReflection.ALWAYS)],
        current={"default/plain": frozenset({"3.0.0"})},
    )
    assert answers["default/plain"].selection is not None
    assert answers["default/plain"].selection.tag == "2.0.0"
    outcome = answers["default/digests"]
    assert outcome.selection is not None
    assert (outcome.selection.tag, outcome.selection.digest) == ("1.0.0", digest("x"))
    assert outcome.judgement is not None
    rejected = {v.tag: v.reason for v in outcome.judgement.verdicts if v.fate is Fate.REJECTED}
    assert "digest" in rejected["2.0.0"]


async def test_everything_invalid_is_found_before_anything_is_asked() -> None:
    registry = FakeRegistry("1.0.0")
    with pytest.raises(SpecErrors) as caught:
        Validity(lambda _: None, {}, durable=False, asks=True).validate(
            [
                policy(SemverPolicy(range="not a range"), name="range"),
                policy(NewestPolicy(by=NewestBy.FIRST_SEEN), name="seen"),
                policy(name="secret", secret_ref="absent"),
                policy(name="good"),
            ]
        )
    assert len(caught.value.errors) == 3
    assert not registry.calls


async def test_without_the_registry_the_store_still_says_what_was_known(tmp_path: Path) -> None:
    registry = FakeRegistry("1.0.0")
    with Store.open(tmp_path / "state") as store:
        await selector(registry, store=store).select([policy()])
        registry.fail["tags"] = RegistryUnavailable("no route")
        outcome = (await selector(registry, store=store).select([policy()]))["default/web"]
    assert outcome.selection is None
    assert outcome.judgement is not None
    assert [verdict.tag for verdict in outcome.judgement.verdicts] == ["1.0.0"]
    assert "kept from before is 1.0.0" in outcome.reason
