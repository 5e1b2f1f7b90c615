"""Never two holders, always a successor: in a world whose time jumps, with everything that can go wrong on a wire."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_updater.cluster.errors import ClusterUnavailable, Forbidden
from image_updater.cluster.lease import MARGIN, Lease, boottime
from image_updater.errors import ImageUpdaterError
from tests.unit.cluster.worlds import Objects, away, live


class Replica:
    """A process with a clock of its own, which can be stopped as SIGSTOP does it."""

    def __init__(
        self,
        store: Objects,
        name: str,
        *,
        offset: float = 0.0,
        dice: random.Random | None = None,
        address: str = "",
    ) -> None:
        self.offset = offset
        self.stopped_until = 0.0
        self.errors: list[ImageUpdaterError | None] = []
        self.happened: list[str] = []
        self.task: asyncio.Task[None] | None = None
        self.lease = Lease(
            store,  # type: ignore[arg-type]
            namespace="system",
            name="leader",
            holder=name,
            address=address,
            on_error=self.errors.append,
            monotonic=self.monotonic,
            clock=self.clock,
            sleep=self.sleep,
            dice=(dice or random.Random(7)).random,
        )

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def monotonic(self) -> float:
        return self.now() + self.offset

    def clock(self) -> datetime:
        """Wrong by hours, and by another amount in each replica: nobody may compare it."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now() + self.offset * 60)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.run()

    async def run(self) -> None:
        """A process that is stopped does not go on before it is woken."""
        while self.now() < self.stopped_until:
            await asyncio.sleep(self.stopped_until - self.now())

    def start(self) -> None:
        held, lost = (lambda: self.happened.append("held")), (lambda: self.happened.append("lost"))
        self.task = asyncio.create_task(self.lease.hold(held=held, lost=lost))

    async def terminate(self) -> None:
        """SIGTERM: work stops, then the Lease is given back."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    @property
    def leads(self) -> bool:
        return self.lease.valid_for() > 0


async def until(condition: Any, limit: float = 60.0) -> float:
    """Seconds that passed in the world."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        assert loop.time() - began < limit, "it did not happen"
        await asyncio.sleep(0.05)
    return loop.time() - began


def test_the_first_one_takes_it_and_keeps_it() -> None:
    async def story() -> None:
        store = Objects()
        one, two = Replica(store, "one"), Replica(store, "two", offset=500)
        one.start()
        await until(lambda: one.leads)
        two.start()
        await asyncio.sleep(3_600)
        assert one.happened == ["held"]
        assert two.happened == []
        assert two.lease.seen_holder == "one"
        spec = store.objects["leader"]["spec"]
        assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("one", 10, 0)
        assert spec["acquireTime"] < spec["renewTime"]
        # One request a renewal, one look a try of the other.
        assert 1_000 < store.log.count("replace") < 1_500
        assert 2_000 < store.log.count("get") < 3_500
        for each in (one, two):
            await each.terminate()

    live(story)


def test_those_who_wait_know_where_its_holder_answers_and_never_where_the_one_before_did() -> None:
    async def story() -> None:
        store = Objects()
        one, two, three = Replica(store, "one", address="10.0.0.1:80"), Replica(store, "two"), Replica(store, "three")
        one.start()
        await until(lambda: one.leads)
        two.start()
        await until(lambda: two.lease.elsewhere == "10.0.0.1:80")
        assert one.lease.elsewhere == ""
        await one.terminate()
        await until(lambda: two.leads)
        assert store.objects["leader"]["metadata"]["annotations"] == {}
        three.start()
        await asyncio.sleep(5)
        assert (two.lease.elsewhere, three.lease.elsewhere, three.lease.seen_holder) == ("", "", "two")
        for each in (two, three):
            await each.terminate()

    live(story)


def test_after_a_crash_another_takes_over_in_less_than_fifteen_seconds() -> None:
    async def story() -> None:
        for seed in range(50):
            store = Objects()
            one = Replica(store, "one", dice=random.Random(seed))
            two = Replica(store, "two", offset=-300, dice=random.Random(seed + 1_000))
            one.start()
            await until(lambda one=one: one.leads)
            two.start()
            await asyncio.sleep(20 + seed / 10)
            assert one.task is not None
            one.stopped_until = float("inf")  # it never comes back, and gives nothing back
            waited = await until(lambda two=two: two.leads)
            assert 5 < waited < 15
            assert two.lease.term == 1
            one.task.cancel()
            await two.terminate()

    live(story)


def test_who_ends_gives_it_back_and_the_next_one_has_it_in_two_seconds() -> None:
    async def story() -> None:
        for seed in range(50):
            store = Objects()
            one = Replica(store, "one", dice=random.Random(seed))
            two = Replica(store, "two", dice=random.Random(seed + 1_000))
            one.start()
            await until(lambda one=one: one.leads)
            two.start()
            await asyncio.sleep(20 + seed / 10)
            await one.terminate()
            assert one.happened == ["held", "lost"]
            assert not one.leads
            assert await until(lambda two=two: two.leads) < 2.1
            await two.terminate()

    live(story)


def test_who_was_stopped_finds_it_lost_when_it_wakes() -> None:
    async def story() -> None:
        store = Objects()
        one, two = Replica(store, "one"), Replica(store, "two")
        one.start()
        await until(lambda: one.leads)
        two.start()
        await asyncio.sleep(20)
        one.stopped_until = one.now() + 30
        await until(lambda: two.leads)
        assert one.lease.valid_for() <= 0
        await asyncio.sleep(60)
        assert one.happened == ["held", "lost"]
        assert two.happened == ["held"]
        for each in (one, two):
            await each.terminate()

    live(story)


def test_who_was_stopped_alone_hears_that_it_was_lost_before_it_leads_again() -> None:
    async def story() -> None:
        one = Replica(Objects(), "one")
        one.start()
        await until(lambda: one.leads)
        one.stopped_until = one.now() + 30
        await asyncio.sleep(40)
        assert one.happened == ["held", "lost", "held"]
        await one.terminate()

    live(story)


def test_who_cannot_renew_gives_up_before_the_end() -> None:
    async def story() -> None:
        store = Objects()
        one = Replica(store, "one")
        one.start()
        await until(lambda: one.leads)
        await asyncio.sleep(20)
        store.before = away
        left = 0.0

        def lost() -> bool:
            nonlocal left
            left = one.lease._valid_until - one.monotonic() if one.happened == ["held"] else left
            return one.happened == ["held", "lost"]

        await until(lost)
        assert left > 0.9 * MARGIN * 10
        assert isinstance(next(each for each in one.errors if each), ClusterUnavailable)
        store.before = Objects().before
        await until(lambda: one.leads)
        assert one.errors[-1] is None
        await one.terminate()

    live(story)


def test_a_server_that_never_answers_does_not_keep_a_leader_believing() -> None:
    async def story() -> None:
        store = Objects()
        one = Replica(store, "one")
        one.start()
        await until(lambda: one.leads)

        async def silent(_: str) -> None:
            await asyncio.sleep(1_000)

        store.before = silent
        assert await until(lambda: one.happened == ["held", "lost"]) <= 8.1
        await one.terminate()

    live(story)


@pytest.mark.parametrize("second", range(20, 30))
def test_a_late_answer_is_counted_from_when_it_was_asked_for(second: int) -> None:
    async def story() -> None:
        store = Objects()
        one, two = Replica(store, "one"), Replica(store, "two")
        one.start()
        await until(lambda: one.leads)
        two.start()

        async def late(verb: str) -> None:
            await asyncio.sleep(4.5 if verb == "replace" else 0)

        store.after = late
        await asyncio.sleep(second)
        one.stopped_until = one.now() + 60
        await until(lambda: store.objects["leader"]["spec"]["holderIdentity"] == "two")
        assert not one.leads
        for each in (one, two):
            await each.terminate()

    live(story)


def test_a_renewal_whose_answer_was_lost_is_no_reason_to_lose_it() -> None:
    async def story() -> None:
        store = Objects()
        one = Replica(store, "one")
        one.start()
        await until(lambda: one.leads)
        lose = iter([True, False] * 1_000)

        async def sometimes(verb: str) -> None:
            if verb == "replace" and next(lose):
                raise ClusterUnavailable("the answer was lost")

        store.after = sometimes
        await asyncio.sleep(600)
        assert one.happened == ["held"]
        await one.terminate()
        assert "holderIdentity" not in store.objects["leader"]["spec"]

    live(story)


def test_a_label_that_somebody_adds_is_kept_and_costs_nothing() -> None:
    async def story() -> None:
        store = Objects()
        one = Replica(store, "one")
        one.start()
        await until(lambda: one.leads)
        for number in range(20):
            store.version += 1
            metadata = store.objects["leader"]["metadata"]
            metadata |= {"labels": {"number": str(number)}, "resourceVersion": str(store.version)}
            await asyncio.sleep(7)
        assert one.happened == ["held"]
        assert store.objects["leader"]["metadata"]["labels"] == {"number": "19"}
        await one.terminate()

    live(story)


def test_a_lease_that_was_deleted_is_made_anew() -> None:
    async def story() -> None:
        store = Objects()
        one = Replica(store, "one")
        one.start()
        await until(lambda: one.leads)
        del store.objects["leader"]
        await asyncio.sleep(30)
        assert one.happened == ["held"]
        assert store.objects["leader"]["spec"]["holderIdentity"] == "one"
        await one.terminate()

    live(story)


def test_who_takes_it_by_hand_is_believed() -> None:
    async def story() -> None:
        store = Objects()
        one = Replica(store, "one")
        one.start()
        await until(lambda: one.leads)
        store.version += 1
        stored = store.objects["leader"]
        stored["spec"]["holderIdentity"] = "a person"
        stored["metadata"]["resourceVersion"] = str(store.version)
        await until(lambda: one.happened == ["held", "lost"], limit=5)
        await until(lambda: one.leads, limit=13)
        assert one.lease.term == 1
        await one.terminate()

    live(story)


def test_a_single_attempt_takes_what_is_free_and_leaves_what_is_not() -> None:
    async def story() -> None:
        store = Objects()
        one, two = Replica(store, "one"), Replica(store, "two")
        assert await one.lease.take()
        assert not await two.lease.take()
        assert await one.lease.take()
        assert one.lease.valid_for() == 10
        await one.lease.release()
        assert await two.lease.take()
        await one.lease.release()  # not ours any more: nothing happens
        assert two.leads
        assert two.lease.term == 1

    live(story)


def test_a_right_that_is_missing_is_told_and_tried_again() -> None:
    async def story() -> None:
        store = Objects()
        one = Replica(store, "one")

        async def forbidden(_: str) -> None:
            raise Forbidden("no")

        store.before = forbidden
        one.start()
        await asyncio.sleep(10)
        assert isinstance(one.errors[-1], Forbidden)
        with pytest.raises(Forbidden):
            await one.lease.take()
        store.before = Objects().before
        await until(lambda: one.leads)
        assert one.errors[-1] is None
        store.before = away
        await one.terminate()
        assert isinstance(one.errors[-1], ClusterUnavailable)

    live(story)


class Faults:
    """Delays and losses, by dice."""

    def __init__(self, dice: random.Random, loss: float, delay: float) -> None:
        self.dice, self.loss, self.delay = dice, loss, delay

    async def __call__(self, _: str) -> None:
        await asyncio.sleep(self.dice.random() ** 4 * self.delay)
        if self.dice.random() < self.loss:
            raise ClusterUnavailable("lost")


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.1, 0.4]),
    delay=st.sampled_from([0.0, 2.0, 12.0]),
    stops=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 300), st.integers(1, 40)), max_size=6),
    ends=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 300)), max_size=4),
)
def test_never_do_two_believe_that_they_hold_it(
    seed: int, loss: float, delay: float, stops: list[tuple[int, int, int]], ends: list[tuple[int, int]]
) -> None:
    """Whatever is lost, late, stopped or ended: never do two have `valid_for() > 0`, and somebody leads again."""

    async def story() -> None:
        store = Objects()
        dice = random.Random(seed)
        store.before = store.after = Faults(dice, loss, delay)
        replicas = [Replica(store, str(index), offset=index * 77.0, dice=dice) for index in range(3)]
        for each in replicas:
            each.start()
        led = 0
        for tick in range(3_100):
            if tick % 10 == 0:
                for index, at, seconds in stops:
                    if at * 10 == tick:
                        replicas[index].stopped_until = replicas[index].now() + seconds
                for index, at in ends:
                    if at * 10 == tick:
                        await replicas[index].terminate()
                        replicas[index].start()
            leaders = [each for each in replicas if each.leads]
            assert len(leaders) <= 1
            led += len(leaders)
            await asyncio.sleep(0.1)
        assert led or loss or delay or stops
        store.before = store.after = Objects().before
        await until(lambda: any(each.leads for each in replicas))
        for each in replicas:
            await each.terminate()

    live(story)


def test_the_clock_goes_on_while_the_machine_sleeps() -> None:
    import time

    assert abs(boottime() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 5
