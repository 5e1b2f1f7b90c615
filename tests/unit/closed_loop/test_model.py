"""The closed loop against anything that people, registries, clusters and clocks may do, in any order.

`make test` runs a fixed small set of examples. Many more, to look for faults (prints the story of the shortest one):

    CLOSED_LOOP_EXAMPLES=2000 HYPOTHESIS_PROFILE=explore pytest tests/unit/closed_loop/test_model.py
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from image_updater.api.wishes import ApprovalWish, DenyWish, HoldWish, ResumeWish, RollbackWish, UndenyWish
from tests.unit.closed_loop.clusters import Killed, object_
from tests.unit.closed_loop.laws import JudgedWorld
from tests.unit.closed_loop.rooms import Faults, Room
from tests.unit.closed_loop.world import APPS, Options, order

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.unit.closed_loop.homes import Home

EXAMPLES = int(os.environ.get("CLOSED_LOOP_EXAMPLES", "20"))
STEPS = int(os.environ.get("CLOSED_LOOP_STEPS", "25"))
IDLE = 10

app = st.sampled_from(["web", "web", "web", *APPS])
number = st.sampled_from([0, 0, 1, 1, 2, 3, 4])
which = st.integers(0, 1)


class Loop(RuleBasedStateMachine):
    """Its world is made by `options`, and every rule ends with all homes at rest."""

    room: ClassVar[Room]
    worlds: ClassVar[int] = 0
    seen: ClassVar[Counter[str]] = Counter()
    """What has happened in all worlds."""

    def __init__(self) -> None:
        super().__init__()
        self.world: JudgedWorld
        self.faults = Faults()
        logging.getLogger("image_updater").addHandler(self.faults)

    def teardown(self) -> None:
        logging.getLogger("image_updater").removeHandler(self.faults)
        if hasattr(self, "world"):
            world = self.world
            Loop.seen["worlds"] += 1
            Loop.seen.update(each.kind for chain in world.chains.values() for each in chain[1:])
            Loop.seen["quarantines"] += len(world.record)
            Loop.seen["granted"] += len(world.granted)
            Loop.seen["after failure"] += len(world.taken_back)
            Loop.seen["breakers"] += sum(map(bool, world.breakers.values()))
            self.room.do(self.world.close())
            for each in self.room.folder.glob(f"{self.world.name}[-.]*"):
                shutil.rmtree(each)

    # ---------------------------------------------------------------------------------------------- helpers

    @initialize(
        reflection=st.sampled_from(["Never", "Always", "IfNotPresent"]),
        on_failure=st.sampled_from(["rollback", "rollback", "rollback", "hold"]),
        window=st.sampled_from([False, False, True]),
        approvals=st.booleans(),
        homes=st.sampled_from([1, 2]),
        proven=st.sampled_from([True, True, True, False]),
    )
    def options(self, proven: bool, **drawn: Any) -> None:
        Loop.worlds += 1
        room = self.room
        self.world = JudgedWorld(
            room.registry, room.client, room.renderer, room.folder, f"w{Loop.worlds}", Options(**drawn)
        )
        self.world.tell(f"{drawn}")
        room.do(self._begin(proven))

    async def _begin(self, proven: bool) -> None:
        self.world.begin()
        for home in self.world.homes:
            self.world.acting = home
            await home.poll()
            if proven:
                home.sync()
                home.judge()
                home.publish()
                await home.calm()
        # A digest may have been written beside the tag.
        self.world.observe()

    def home(self, number: int) -> Home:
        return self.world.homes[number % len(self.world.homes)]

    def tag(self, app: str, number: int) -> str:
        """The highest for 0."""
        tags = self.world.tags(app)
        return tags[-1 - number % len(tags)]

    def tell(self, text: str) -> None:
        self.world.tell(text)

    def at(self, home: Home, work: Callable[[], Awaitable[object]], text: str) -> list[str]:
        """Let one home work, and judge what it has written."""
        if text:
            self.tell(f"{home.name}: {text}")
        self.world.acting = home
        self.world.note_breakers()
        try:
            self.room.do(work())
            return self.check()
        finally:
            self.world.acting = None

    def check(self) -> list[str]:
        try:
            ours = self.world.observe()
            assert not self.faults.found, self.faults.found[0]
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.world.log()}") from None
        return ours

    def pass_time(self, seconds: float) -> None:
        self.world.now += timedelta(seconds=seconds)

    # ---------------------------------------------------------------------------------------------- the registry

    @rule(app=app, good=st.booleans(), under=st.sampled_from([False, False, True]))
    def new_tag(self, app: str, good: bool, under: bool) -> None:
        world = self.world
        self.pass_time(7)
        world.minor += 1
        top = order(world.tags(app)[-1])
        tag = f"1.{world.minor}.0" if not under else f"1.{max(top[1] - 1, 0)}.{world.minor}"
        self.tell(f"{app} {tag} is pushed, {'good' if good else 'bad'}")
        world.push(app, tag, good=good)

    @rule(app=app, number=number)
    def same_bytes(self, app: str, number: int) -> None:
        world = self.world
        self.pass_time(7)
        old = self.tag(app, number)
        digest = world.bytes_of(app, old)
        assert digest is not None
        world.minor += 1
        self.tell(f"{app} 1.{world.minor}.0 has the bytes of {old}")
        world.push(app, f"1.{world.minor}.0", good=True, content=world.texts[digest])

    @rule(app=app, number=number, good=st.booleans())
    def pushed_again(self, app: str, number: int, good: bool) -> None:
        self.pass_time(7)
        tag = self.tag(app, number)
        self.tell(f"{app} {tag} is pushed again with other bytes, {'good' if good else 'bad'}")
        self.world.push(app, tag, good=good)

    # ---------------------------------------------------------------------------------------------- people in Git

    @rule(app=app, number=number)
    def by_hand(self, app: str, number: int) -> None:
        self.pass_time(7)
        tag = self.tag(app, number)
        digest = self.world.bytes_of(app, tag) if self.world.value(app)[1] else None
        self.tell(f"a person sets {app} to {tag}")
        if (tag, digest) != self.world.value(app):
            self.world.by_hand(app, (tag, digest))
        self.check()

    @rule(app=app)
    def reverts(self, app: str) -> None:
        chain = self.world.chains[app]
        if len(chain) < 2:
            return
        self.pass_time(7)
        self.tell(f"a person reverts {app} {chain[-1].value} to {chain[-2].value}")
        if chain[-2].value != self.world.value(app):
            self.world.by_hand(app, chain[-2].value, f"Revert\n\nThis reverts commit {chain[-1].commit}.")
        self.check()

    @rule(app=app, number=number)
    def squash(self, app: str, number: int) -> None:
        """A pull request of ours, merged under a person's name."""
        world = self.world
        (now, _), tag = world.value(app), self.tag(app, number)
        if order(tag) <= order(now):
            return
        self.pass_time(7)
        digest = world.bytes_of(app, tag) if world.value(app)[1] else None
        text = f"Image-Policy: shop/{app}\nImage: {world.images[app]}\nOld: {now}\nNew: {tag}\nAutomation: shop/all"
        self.tell(f"a person squashes a proposal: {app} {tag}")
        world.by_hand(
            app, (tag, digest), f"Merge (#1)\n\n* Update\n\n  {text.replace(chr(10), chr(10) + '  ')}\n\nFine"
        )
        self.check()

    @rule(app=app, broken=st.sampled_from([True, False, False]))
    def configures(self, app: str, broken: bool) -> None:
        self.pass_time(7)
        if self.world.is_broken(app) != broken:
            self.tell(f"a person {'breaks' if broken else 'mends'} {app}")
            self.world.configure(app, broken=broken)
        self.check()

    @rule(home=which, app=app, good=st.booleans())
    def ship_broken(self, home: int, app: str, good: bool) -> None:
        """A tag comes with a configuration that breaks it, which is mended before anybody judges."""
        self.configures(app, broken=True)
        self.new_tag(app, good, under=False)
        self.poll(home)
        self.applied(home)
        self.configures(app, broken=False)
        self.verdict(home)

    @rule(app=st.sampled_from([None, *APPS]), word=st.sampled_from(["hold", "resume", "resume", "resume"]))
    def word(self, app: str | None, word: str) -> None:
        self.pass_time(7)
        self.tell(f"a commit says {word} of {app}")
        self.world.say(f"Image-Updater: {word}", app)
        self.check()

    @precondition(lambda self: self.world.record)
    @rule(number=number)
    def release(self, number: int) -> None:
        self.pass_time(7)
        bad = self.world.record[number % len(self.world.record)]
        self.tell(f"a commit releases {bad}")
        self.world.say(f"Release: {bad.image}:{bad.tag}")
        self.check()

    # ---------------------------------------------------------------------------------------------- people elsewhere

    @rule(
        home=which,
        app=app,
        number=number,
        what=st.sampled_from(
            ["hold", "resume", "resume", "deny", "undeny", "approve", "approve", "rollback", "rollback", "to"]
        ),
    )
    def wish(self, home: int, app: str, number: int, what: str) -> None:
        self.pass_time(7)
        at, tag = self.world.now, self.tag(app, number)
        self.tell(f"{self.home(home).name}: {what} {app} {tag}")
        made: Any = {
            "hold": HoldWish(reason="a person", at=at, until=at + timedelta(minutes=20) if number else None),
            "resume": ResumeWish(at=at),
            "deny": DenyWish(what=tag, at=at),
            "undeny": UndenyWish(what=tag),
            "approve": ApprovalWish(tag=tag, by="ann", at=at),
            "rollback": RollbackWish(at=at),
            "to": RollbackWish(at=at, to=tag),
        }[what]
        if what == "to" and self.world.is_barred(self.home(home), app, (tag, None)):
            return
        self.world.wish(self.home(home), app, made)

    @rule(home=which, allow=st.booleans(), hours=st.sampled_from([None, 1, 1, 5]))
    def freeze(self, home: int, allow: bool, hours: int | None) -> None:
        self.pass_time(7)
        spec: dict[str, Any] = {"reason": "a freeze", "allowRollback": allow}
        if hours is not None:
            spec["expires"] = (self.world.now + timedelta(hours=hours)).isoformat()
        self.tell(f"{self.home(home).name}: {spec}")
        self.home(home).cluster.put(object_("Freeze", "xmas", spec))

    @rule(home=which)
    def thaw(self, home: int) -> None:
        self.tell(f"{self.home(home).name}: no freeze")
        self.home(home).cluster.remove("Freeze", "xmas")

    @rule(home=which, app=app, number=number, by_digest=st.booleans(), hours=st.sampled_from([None, 2]))
    def quarantine(self, home: int, app: str, number: int, by_digest: bool, hours: int | None) -> None:
        self.pass_time(7)
        tag = self.tag(app, number)
        spec: dict[str, Any] = {"image": self.world.images[app], "tag": tag, "reason": "a person says so"}
        if by_digest:
            spec["digest"] = self.world.bytes_of(app, tag)
        if hours is not None:
            spec["expires"] = (self.world.now + timedelta(hours=hours)).isoformat()
        self.tell(f"{self.home(home).name}: Quarantine {spec}")
        self.home(home).cluster.remove("Quarantine", f"q-{app}")
        self.home(home).cluster.put(object_("Quarantine", f"q-{app}", spec))

    @rule(home=which, app=app)
    def unquarantine(self, home: int, app: str) -> None:
        self.tell(f"{self.home(home).name}: no Quarantine of {app}")
        self.home(home).cluster.remove("Quarantine", f"q-{app}")

    # ---------------------------------------------------------------------------------------------- what goes on

    @rule(home=which)
    def poll(self, home: int) -> None:
        self.pass_time(7)
        self.at(self.home(home), self.home(home).poll, "poll")

    @rule(home=which)
    def applied(self, home: int) -> None:
        at = self.home(home)
        self.pass_time(7)
        if at.sync():
            at.publish()
        self.at(at, at.calm, "applied")

    @rule(home=which)
    def verdict(self, home: int) -> None:
        """It may come late: what is judged was applied before."""
        at = self.home(home)
        self.pass_time(60)
        at.judge()
        at.publish()
        self.at(at, at.calm, "verdict " + " ".join(f"{app}={pods.state}" for app, pods in at.pods.items()))

    @rule(home=which, app=app, good=st.booleans(), again=st.booleans())
    def ships(self, home: int, app: str, good: bool, again: bool) -> None:
        """A new tag, all the way; `again`: until it is at rest."""
        self.new_tag(app, good, under=False)
        self.whole(home)
        if again:
            self.whole(home)

    @rule(home=which)
    def ship_bad_ones(self, home: int) -> None:
        """A bad tag of every app."""
        for each in APPS:
            self.new_tag(each, good=False, under=False)
        self.whole(home)

    @rule(home=which)
    def whole(self, home: int) -> None:
        self.pass_time(60)
        at = self.home(home)
        self.at(at, lambda: self._whole(at), "all of it")

    @rule(home=which, app=app)
    def ship_and_revert(self, home: int, app: str) -> None:
        self.new_tag(app, good=True, under=False)
        self.poll(home)
        self.reverts(app)

    @rule(home=which, out=st.sampled_from([True, False, False]))
    def outage(self, home: int, out: bool) -> None:
        self.tell(f"{self.home(home).name}: outage {out}")
        self.home(home).outage = out

    @rule(minutes=st.sampled_from([1, 15, 60, 60, 300, -30]))
    def time(self, minutes: int) -> None:
        self.pass_time(minutes * 60)
        for home in self.world.homes:
            self.at(home, home.wake, f"{minutes} minutes later")

    @rule(home=which, keep=st.booleans())
    def restart(self, home: int, keep: bool) -> None:
        at = self.home(home)
        self.pass_time(7)
        self.at(at, lambda: self._again(at, keep), f"a new process, store {'kept' if keep else 'lost'}")

    async def _again(self, home: Home, keep: bool) -> None:
        await home.end()
        home.begin(keep=keep)
        await home.poll()
        if home.applied:
            home.publish()
            await home.calm()

    @rule(home=which, app=app, landed=st.booleans(), keep=st.booleans(), with_verdict=st.booleans())
    def killed(self, home: int, app: str, landed: bool, keep: bool, with_verdict: bool) -> None:
        """In the middle of its next push."""
        at = self.home(home)
        self.pass_time(60)

        def kill() -> None:
            raise Killed

        async def work() -> None:
            if with_verdict:
                at.sync()
                at.judge()
                at.publish()
            at.hooked.before, at.hooked.after = (None, kill) if landed else (kill, None)
            if await at.killed_while(at.poll):
                self.tell("…and killed")
                self.check()
            await self._again(at, keep)

        self.at(at, work, f"killed {'after' if landed else 'before'} its push, store {'kept' if keep else 'lost'}")

    @rule(home=which, app=app, number=number, word=st.booleans())
    def race(self, home: int, app: str, number: int, word: bool) -> None:
        """A person is faster than our push."""
        at, world = self.home(home), self.world
        self.pass_time(7)

        def first() -> None:
            tag = self.tag(app, number)
            if word:
                world.say("Image-Updater: hold", app)
                self.tell(f"a person is faster: hold {app}")
            elif world.value(app)[0] != tag:
                digest = world.bytes_of(app, tag) if world.value(app)[1] else None
                world.by_hand(app, (tag, digest))
                self.tell(f"a person is faster: {app} {tag}")

        async def work() -> None:
            at.hooked.before = first
            await at.poll()
            at.hooked.before = None

        self.at(at, work, "poll, with a race")

    @rule()
    def settle(self) -> None:
        """Everybody works until nothing moves; then the best is there that may be, and nothing is written any more."""
        world = self.world
        for home in world.homes:
            home.outage = False
        for _ in range(20):
            before = (world.tip, [dict(home.pods) for home in world.homes])
            for home in world.homes:
                self.pass_time(60)
                self.at(home, lambda home=home: self._whole(home), "all of it")  # type: ignore[misc]
            if before == (world.tip, [dict(home.pods) for home in world.homes]):
                break
        else:
            raise AssertionError(f"it never comes to rest\n{world.log()}")
        for _ in range(IDLE):
            for home in world.homes:
                self.pass_time(7)
                assert not self.at(home, home.poll, ""), world.log()
        for app in APPS:
            best = [world.best(home, app) for home in world.homes]
            said = [(home.selector.answers[f"shop/{app}"].reason, home.errors) for home in world.homes]
            assert world.waits(app), f"{app} holds {world.value(app)}, and not {best}: {said}\n{world.log()}"

    async def _whole(self, home: Home) -> None:
        await home.poll()
        await home.wake()
        home.sync()
        home.judge()
        home.publish()
        await home.calm()


@pytest.fixture(scope="module", autouse=True)
def room() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        Loop.room = Room(Path(folder))
        yield
        Loop.room.close()
        sys.stdout.write(f"{dict(Loop.seen)}\n")


Loop.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    # The same stories at each run of the whole suite; whoever asks for a number of examples looks for new ones.
    derandomize="CLOSED_LOOP_EXAMPLES" not in os.environ,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
TestLoop = Loop.TestCase


# ------------------------------------------------------------------------------------------------- found by it


@pytest.fixture
def loop() -> Iterator[Loop]:
    machine = Loop()
    yield machine
    machine.teardown()


def begin(loop: Loop, *, homes: int = 1, **more: Any) -> None:
    known = {"reflection": "Never", "on_failure": "rollback", "window": False, "approvals": False, "proven": True}
    loop.options(**known | more, homes=homes)


def test_what_another_writer_has_just_recorded_as_bad_is_no_way_back(loop: Loop) -> None:
    begin(loop, homes=2)
    loop.ship_bad_ones(home=0)
    loop.quarantine(app="web", by_digest=False, home=1, hours=None, number=1)
    loop.settle()


def test_a_rollback_that_is_asked_for_ends_nothing_that_a_person_took_back(loop: Loop) -> None:
    begin(loop)
    for _ in range(2):
        loop.ship_and_revert(app="web", home=0)
        loop.wish(app="web", home=0, number=0, what="rollback")
        loop.settle()


def test_a_breaker_that_was_open_is_open_after_a_restart_before_anything_is_written(loop: Loop) -> None:
    begin(loop)
    for _ in range(2):
        loop.ships(app="web", good=False, home=0, again=False)
    loop.new_tag(app="web", good=True, under=False)
    loop.restart(home=0, keep=False)
    assert loop.world.homes[0].breaker("web")
    loop.settle()


def test_the_bytes_that_a_person_has_quarantined_are_no_way_back_under_another_tag(loop: Loop) -> None:
    begin(loop)
    loop.same_bytes(app="web", number=0)
    loop.settle()
    loop.quarantine(app="web", by_digest=True, home=0, hours=None, number=0)
    loop.settle()
    assert loop.world.value("web") == ("1.1.0", None), "there is no other way: it stays"


def test_a_rollback_that_is_asked_for_never_goes_up_to_what_a_person_took_back(loop: Loop) -> None:
    begin(loop)
    loop.ships(app="web", good=True, home=0, again=True)
    assert loop.world.value("web") == ("1.1.0", None)
    loop.reverts(app="web")
    loop.whole(home=0)
    loop.wish(app="web", home=0, number=0, what="rollback")
    loop.settle()
    assert loop.world.value("web") == ("1.0.0", None), "nothing older is known: it stays"


def test_each_rollback_that_is_asked_for_goes_further_down(loop: Loop) -> None:
    begin(loop)
    for _ in range(2):
        loop.ships(app="web", good=True, home=0, again=True)
    for tag in ("1.1.0", "1.0.0", "1.0.0"):
        loop.wish(app="web", home=0, number=0, what="rollback")
        loop.settle()
        assert loop.world.value("web") == (tag, None)


def test_what_failed_does_not_go_back_to_bytes_that_are_quarantined_under_another_tag(loop: Loop) -> None:
    begin(loop)
    loop.same_bytes(app="web", number=0)
    loop.quarantine(app="web", by_digest=True, home=0, hours=None, number=0)
    loop.ships(app="web", good=False, home=0, again=True)
    loop.settle()
    assert loop.world.value("web") == ("1.2.0", None), "there is no other way: it stays"


def test_a_tag_is_not_blamed_for_a_configuration_that_was_mended_before_it_was_judged(loop: Loop) -> None:
    begin(loop)
    loop.ship_broken(app="web", good=True, home=0)
    loop.settle()
    assert loop.world.value("web") == ("1.1.0", None)
    loop.ship_broken(app="web", good=False, home=0)
    loop.settle()
    assert loop.world.value("web") == ("1.1.0", None), "this one is bad with any configuration"


def test_a_failure_that_a_freeze_kept_is_taken_back_when_it_is_over(loop: Loop) -> None:
    begin(loop, homes=2)
    loop.freeze(home=1, allow=False, hours=None)
    loop.ship_bad_ones(home=0)
    loop.settle()
    loop.thaw(home=1)
    loop.settle()
    assert loop.world.value("api") == ("1.0.0", None)
