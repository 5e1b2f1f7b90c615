"""What gates cost without a cluster: a Freeze over 1,000 policies, 100,000 tags that are all too young, and a replay.

The Freeze begins and ends in the daemon, in this process: 1,000 policies with a window that has been open for an hour,
each with one marked line in 5,000 files. It ends with a new tag for each waiting, which then passes preflight. The
clock begins when the daemon's source tells of the objects (reading a file is not in it) and ends when all answers are
held, or when the bare repository has the commit (looked at every 2 ms). The rest is CPU time, the best of some runs.
"""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from image_updater import policy
from image_updater.api.gates import Window
from image_updater.api.model import Freeze, ImagePolicy, Meta, ObjectKey, Objects, SemverPolicy
from image_updater.images import Digest
from image_updater.pipeline.daemon.watching import Reading
from image_updater.pipeline.replay.pasttags import PastTag, PastTags
from image_updater.pipeline.replay.simulation import Past, replay
from image_updater.policy.situation import Situation
from tests.bench import repositories, servers
from tests.bench.rows import Row, number
from tests.parts import gitservers, registries

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bench.repositories import Repository

POLICIES = 1000
OLD_TAGS = ("0.9.0", "1.0.0", "latest")
SHARED = "shared/image"
"""What all tags are: they can be pulled, as `preflight` wants it."""
YOUNG = 100_000
PAST, DAYS = 1000, 90
NOW = datetime(2026, 11, 25, tzinfo=UTC)
_DIGEST = Digest("sha256:" + "a" * 64)


def bench() -> list[Row]:
    return [*asyncio.run(_freeze()), *_young(), _replay()]


# ------------------------------------------------------------------------------------------------- a Freeze


class _Told:
    """A source of objects that says what it is told, as a cluster's does."""

    def __init__(self) -> None:
        self._readings: asyncio.Queue[Reading] = asyncio.Queue()

    async def next(self) -> Reading:
        return await self._readings.get()

    def tell(self, objects: Objects) -> None:
        self._readings.put_nowait(Reading(objects=objects, policies={}))


async def _freeze() -> list[Row]:
    with (
        servers.folder() as place,
        gitservers.http_server(place / "git") as git,
        registries.running("debian", place / "registry") as registry,
    ):
        made = repositories.markers(registry.host, apps=POLICIES, files=5)
        servers.push_image(registry, SHARED, "1.0.0")
        servers.tag_lists(registry, dict.fromkeys(made.images, OLD_TAGS), SHARED)
        repository = servers.bare(git.root / "fleet.git", made.files)
        opened = datetime.now(UTC) - timedelta(hours=1)
        objects = repositories.documents(
            *(
                repositories.policy(_app(image), f"{registry.host}/{image}")
                + f"  windows: [{{cron: '{opened:%M %H} * * *', duration: 12h}}]\n"
                for image in made.images
            ),
            repositories.repository(git.url("fleet.git")),
            repositories.automation("fleet"),
        )
        return await _frozen(made, objects, registry, repository, place / "product")


async def _frozen(
    made: Repository, objects: str, registry: registries.RealRegistry, repository: Path, place: Path
) -> list[Row]:
    freeze = Freeze(meta=Meta(key=ObjectKey("default", "release")), reason="measured")
    async with servers.product(place, objects) as product:
        told = _Told()
        daemon = product.daemon(source=told)
        stop = asyncio.Event()
        running = asyncio.create_task(daemon.run(stop))
        answers = product.selector.answers

        def all_held() -> bool:
            return sum(answer.selection is None for answer in answers.values()) == POLICIES

        def all_list(tag: str) -> bool:
            return all(each.listing is not None and tag in each.listing for each in answers.values())

        try:
            await servers.until(lambda: daemon.ready() and len(answers) == POLICIES, seconds=60, pause=0.05)
            await asyncio.sleep(3)  # what the start has to look at
            servers.quiet(5)
            with servers.Timer() as begins:
                told.tell(replace(product.objects, freezes=(freeze,)))
                await servers.until(all_held, seconds=30)
            servers.tag_lists(registry, dict.fromkeys(made.images, (repositories.NEW,)), SHARED)
            assert all(daemon.hint(f"{registry.host}/{image}") for image in made.images)
            await servers.until(lambda: all_list(repositories.NEW), seconds=60, pause=0.05)
            await asyncio.sleep(1)
            assert servers.commits(repository) == 1, "nothing is written meanwhile"
            branch = repository / "refs/heads/main"
            assert not branch.exists(), "packed until something is pushed"
            servers.quiet(5)
            with servers.Timer() as ends:
                told.tell(product.objects)
                await servers.until(branch.exists, seconds=120)
        finally:
            stop.set()
            await running
    assert made.noise(servers.contents(repository)) == 0
    work = f"{POLICIES:,} gated policies"
    return [
        Row(work=f"{work}: a Freeze begins → all held", value=begins.wall, unit="s",
            note=f"one run; CPU {begins.cpu:.2f} s"),
        Row(work=f"{work}: a Freeze ends → all in Git", value=ends.wall, unit="s",
            note=f"one run; CPU {ends.cpu:.1f} s; {POLICIES:,} edits in 5,000 files"),
        Row(work=f"{work}: a Freeze ends: commits", value=servers.commits(repository) - 1, unit="", budget=1,
            exact=True),
    ]  # fmt: skip


def _app(image: str) -> str:
    return image.rpartition("/")[2]


# ------------------------------------------------------------------------------------------------- pure


def _policy(min_age: timedelta, *windows: Window) -> ImagePolicy:
    return ImagePolicy(
        meta=Meta(key=ObjectKey("bench", "web")),
        image="registry.example.com/web",
        strategy=SemverPolicy(range="*"),
        min_age=min_age,
        windows=windows,
    )


def _best(runs: int, work: Callable[[], None]) -> tuple[float, str]:
    """CPU seconds, and how they came about."""
    spent = []
    for _ in range(runs):
        gc.collect()
        begun = time.process_time()
        work()
        spent.append(time.process_time() - begun)
    return min(spent), f"CPU time, best of {runs}, worst {number(max(spent), 's')}"


def _young() -> list[Row]:
    """All tags are judged, and each is looked at by the gate: none passes."""
    compiled = policy.compile(_policy(timedelta(hours=72)))
    tags = tuple(f"{n // 5000}.{n // 50 % 100}.{n % 50}" for n in range(YOUNG))
    facts = {tag: policy.TagFacts(digest=_DIGEST, bytes_seen=NOW) for tag in tags}
    judged = policy.judge(compiled, tags, facts, now=NOW)

    def gate() -> None:
        gated = policy.gate(judged, compiled, facts, Situation(), now=NOW)
        assert gated.chosen is None
        assert gated.until == NOW + timedelta(hours=72)

    value, note = _best(5, gate)
    return [Row(work=f"gate {YOUNG:,} tags, minAge, all too young", value=value, unit="s", note=note)]


def _replay() -> Row:
    compiled = _policy(timedelta(hours=36), Window(cron="0 9 * * 1-5", duration=timedelta(hours=8)))
    since, step = NOW - timedelta(days=DAYS), timedelta(days=DAYS) / PAST
    past = PastTags(
        tags=tuple(
            PastTag(tag=f"1.{n}.0", at=since + n * step, bytes=((Digest(f"sha256:{n:064x}"), None),))
            for n in range(PAST)
        )
    )
    objects = Objects(policies=(compiled,))

    def work() -> None:
        (found,) = replay(objects, Past(tags={"bench/web": past}), since=since, until=NOW)
        assert DAYS / 2 < len(found.commits) < PAST, len(found.commits)

    value, note = _best(3, work)
    work_ = f"replay {PAST:,} tags over {DAYS} days, minAge and windows"
    return Row(work=work_, value=value, unit="s", note=f"{note}; one policy")
