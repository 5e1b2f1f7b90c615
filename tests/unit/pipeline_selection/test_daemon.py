"""The daemon's part: when it asks, when it pushes, what it survives. The line itself is a stand-in here."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from image_updater.errors import GitError, SpecError
from image_updater.pipeline.answers.secrets import CurrentSecrets
from image_updater.pipeline.answers.selection import Selector
from image_updater.pipeline.daemon.daemon import Daemon
from image_updater.pipeline.daemon.endpoints import parse_listen, serve
from image_updater.pipeline.daemon.metrics import Metrics
from image_updater.pipeline.daemon.watching import ObjectFiles
from image_updater.pipeline.report import (
    AutomationReport,
    CommitReport,
    FailureReport,
    Mode,
    SiteReport,
    State,
    UpdateReport,
)
from image_updater.registry.http import Metrics as RegistryMetrics
from image_updater.settings import Settings
from image_updater.store import Store
from tests.unit.pipeline_selection.fakes import IMAGE, Clock, FakeRegistry, policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from image_updater.pipeline.report import UpdateRequest

OBJECTS = f"""
apiVersion: image-updater.dev/v1alpha1
kind: ImagePolicy
metadata: {{name: web}}
spec:
  image: {IMAGE}
  interval: INTERVAL
  policy: {{semver: {{range: 'RANGE'}}}}
---
apiVersion: image-updater.dev/v1alpha1
kind: GitRepository
metadata: {{name: fleet}}
spec: {{url: 'https://git.test/fleet.git', ref: {{branch: main}}}}
---
apiVersion: image-updater.dev/v1alpha1
kind: ImageUpdateAutomation
metadata: {{name: fleet}}
spec:
  sourceRef: {{name: fleet}}
  git: {{commit: {{author: {{name: bot, email: bot@example.test}}}}}}
"""


def objects(version_range: str = "*", interval: str = "1h") -> str:
    return OBJECTS.replace("RANGE", version_range).replace("INTERVAL", interval)


class Line:
    """Stands in for `pipeline.update`: asks the selector as the line would, remembers what it would write."""

    def __init__(self) -> None:
        self.requests: list[UpdateRequest] = []
        self.written: list[str | None] = []
        self.fail: list[Exception] = []
        self.slow = asyncio.Event()
        self.slow.set()

    async def __call__(self, request: UpdateRequest) -> UpdateReport:
        self.requests.append(request)
        assert request.selector is not None
        answers = await request.selector.select(request.objects.policies)
        selection = answers["default/web"].selection
        await self.slow.wait()
        if self.fail:
            raise self.fail.pop(0)
        tag = selection.tag if selection is not None else None
        if tag is None or (self.written and self.written[-1] == tag):
            return UpdateReport()
        self.written.append(tag)
        commit = CommitReport(
            repository="https://git.test/fleet.git",
            branch="main",
            commit="c" * 40,
            automation="default/fleet",
            subject=f"web {tag}",
            pushed=True,
            attempts=2,
        )
        return UpdateReport(changed=True, commits=(commit,))


@asynccontextmanager
async def running(
    folder: Path, registry: FakeRegistry, line: Line, text: str | None = None
) -> AsyncIterator[tuple[Daemon, asyncio.Event]]:
    path = folder / "objects.yaml"
    path.write_text(text or objects())
    clock = Clock()
    secrets = CurrentSecrets(None)
    with Store.open(folder / "state", clock=clock) as store:
        selector = Selector(store=store, secrets=secrets, environment={}, clock=clock, registry=registry, durable=True)
        files = ObjectFiles([path], selector.check)
        reading = files.look()
        assert reading is not None
        assert reading.objects is not None
        metrics = Metrics()
        daemon = Daemon(
            source=files,
            objects=reading.objects,
            selector=selector,
            secrets=secrets,
            settings=Settings(state=folder / "state"),
            environment={},
            metrics=metrics,
            clock=clock,
            monotonic=time.monotonic,
            dice=random.Random(1).random,
            apply=line,
        )
        metrics.watch(
            registry=RegistryMetrics(),
            tags_seen=lambda: selector.tags_seen,
            facts_fetched=lambda: selector.fetched,
            states=daemon.states,
        )
        stop = asyncio.Event()
        task = asyncio.create_task(daemon.run(stop))
        try:
            yield daemon, stop
        finally:
            line.slow.set()
            stop.set()
            await task


async def until(condition: Callable[[], bool]) -> None:
    """A condition of the daemon's own making: wait for it, at most ten seconds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_it_writes_what_is_chosen_at_the_start_and_nothing_more(tmp_path: Path) -> None:
    registry, line = FakeRegistry("1.0.0"), Line()
    async with running(tmp_path, registry, line) as (daemon, _):
        await until(lambda: line.written == ["1.0.0"])
        await until(daemon.ready)
        request = line.requests[0]
        assert request.mode is Mode.PUSH
        assert request.automations is not None
        assert {str(key) for key in request.automations} == {"default/fleet"}
        assert b'image_updater_commits_total{branch="main"' in daemon.metrics_text()
        assert b"image_updater_push_retries_total" in daemon.metrics_text()
        assert b'image_updater_policies{state="chosen"} 1.0' in daemon.metrics_text()
    assert registry.calls["tags"] == 1


async def test_a_hint_is_one_request_and_a_commit(tmp_path: Path) -> None:
    registry, line = FakeRegistry("1.0.0"), Line()
    async with running(tmp_path, registry, line) as (daemon, _):
        await until(lambda: line.written == ["1.0.0"] and daemon.ready())
        registry.calls.clear()
        registry.push("1.1.0")
        assert daemon.hint(IMAGE, "1.1.0")
        await until(lambda: line.written == ["1.0.0", "1.1.0"])
        assert registry.calls == {"head": 1}
        assert not daemon.hint("registry.test/acme/unknown", "1")
        assert not daemon.hint("No Name", "1")


async def test_a_storm_of_hints_for_one_image_stays_few_requests(tmp_path: Path) -> None:
    registry, line = FakeRegistry("1.0.0"), Line()
    async with running(tmp_path, registry, line) as (daemon, _):
        await until(lambda: line.written == ["1.0.0"] and daemon.ready())
        registry.calls.clear()
        for n in range(500):
            registry.push(f"1.1.{n}")
            daemon.hint(IMAGE, f"1.1.{n}")
        await until(lambda: line.written[-1] == "1.1.499")
        assert registry.calls.total() <= 3


async def test_a_poll_finds_a_tag_by_itself(tmp_path: Path) -> None:
    registry, line = FakeRegistry("1.0.0"), Line()
    async with running(tmp_path, registry, line, objects(interval="1s")):
        await until(lambda: line.written == ["1.0.0"])
        registry.push("1.1.0")
        await until(lambda: line.written == ["1.0.0", "1.1.0"])


async def test_a_bad_edit_keeps_the_last_good_objects_and_says_so(tmp_path: Path) -> None:
    registry, line = FakeRegistry("1.0.0", "2.0.0"), Line()
    async with running(tmp_path, registry, line) as (daemon, _):
        await until(lambda: line.written == ["2.0.0"])
        (tmp_path / "objects.yaml").write_text(objects("not a range"))
        await until(lambda: daemon.health()[1]["status"] == "degraded")
        assert "not a range" in str(daemon.health()[1]["objects"])
        assert b"image_updater_objects_good 0.0" in daemon.metrics_text()
        assert b'image_updater_objects_reloads_total{result="bad"} 1.0' in daemon.metrics_text()
        registry.push("2.1.0")
        daemon.hint(IMAGE, "2.1.0")
        await until(lambda: line.written == ["2.0.0", "2.1.0"])
        (tmp_path / "objects.yaml").write_text(objects("^1"))
        await until(lambda: line.written == ["2.0.0", "2.1.0", "1.0.0"])
        assert daemon.health()[1]["status"] == "ok"
        assert daemon.ready()


async def test_a_failed_push_is_tried_again_without_a_new_tag(tmp_path: Path) -> None:
    registry, line = FakeRegistry("1.0.0"), Line()
    line.fail = [GitError("the server is away")]
    async with running(tmp_path, registry, line) as (daemon, _):
        await until(lambda: line.written == ["1.0.0"])
        assert b'image_updater_updates_total{result="failed"} 1.0' in daemon.metrics_text()


async def test_a_stop_lets_the_push_under_way_finish(tmp_path: Path) -> None:
    registry, line = FakeRegistry("1.0.0"), Line()
    line.slow.clear()
    async with running(tmp_path, registry, line) as (daemon, stop):
        await until(lambda: bool(line.requests))
        stop.set()
        await until(lambda: daemon.health()[1]["status"] == "stopping")
        assert not line.written
        assert not daemon.hint(IMAGE, "1.0.0")
        line.slow.set()
    assert line.written == ["1.0.0"]


async def test_after_a_restart_nothing_is_asked_that_is_known(tmp_path: Path) -> None:
    registry, line = FakeRegistry("1.0.0"), Line()
    async with running(tmp_path, registry, line):
        await until(lambda: line.written == ["1.0.0"])
    registry.calls.clear()
    again = Line()
    async with running(tmp_path, registry, again) as (daemon, _):
        await until(lambda: again.written == ["1.0.0"])
        assert daemon.ready()
    assert not registry.calls


class FailingLine(Line):
    """Every run ends with a failure in its report."""

    async def __call__(self, request: UpdateRequest) -> UpdateReport:
        await super().__call__(request)
        return UpdateReport(failures=(FailureReport(subject="default/fleet", reason="X", message="no"),))


async def test_what_fails_in_a_report_is_tried_again(tmp_path: Path) -> None:
    registry, line = FakeRegistry("1.0.0"), FailingLine()
    async with running(tmp_path, registry, line) as (daemon, _):
        await until(lambda: len(line.requests) >= 2)
        assert daemon.health()[0]


async def test_the_endpoints_answer(tmp_path: Path) -> None:
    import aiohttp

    registry, line = FakeRegistry("1.0.0"), Line()
    async with (
        running(tmp_path, registry, line) as (daemon, _),
        serve(daemon, "127.0.0.1:0") as address,
        aiohttp.ClientSession() as client,
    ):
        await until(daemon.ready)
        async with client.get(f"http://{address}/healthz") as answer:
            assert (answer.status, (await answer.json())["status"]) == (200, "ok")
        async with client.get(f"http://{address}/readyz") as answer:
            assert answer.status == 200
        async with client.get(f"http://{address}/metrics") as answer:
            assert "image_updater_tags_seen_total" in await answer.text()
        with pytest.raises(SpecError, match="cannot listen"):
            async with serve(daemon, address):
                raise AssertionError("the address was taken")


@pytest.mark.parametrize("text", ["8080", "host:", "host:port", "::1:80", "host:99999"])
def test_a_wrong_listen_address_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="HOST:PORT"):
        parse_listen(text)


def test_listen_addresses() -> None:
    assert parse_listen("127.0.0.1:80") == ("127.0.0.1", 80)
    assert parse_listen("[::1]:80") == ("::1", 80)
    assert parse_listen(":80") == ("0.0.0.0", 80)


class AnnotationLine(Line):
    """Finds its policy in Git, as an annotation: the daemon learns of it from the report."""

    name = f"annotation:{IMAGE}:semver *"

    async def __call__(self, request: UpdateRequest) -> UpdateReport:
        assert request.selector is not None
        implicit = policy(name=self.name)
        selection = (await request.selector.select([implicit]))[self.name].selection
        assert selection is not None
        self.written.append(selection.tag)
        site = SiteReport(
            file="a.yaml", line=1, field="image", image=IMAGE, policy=self.name, state=State.UPDATED, roots=(".",)
        )
        part = AutomationReport(sites=(site,), implicit=(implicit,))
        return UpdateReport(sites=(site,), automations={"default/fleet": part})


async def test_a_policy_that_stands_only_in_git_is_followed_too(tmp_path: Path) -> None:
    registry, line = FakeRegistry("1.0.0"), AnnotationLine()
    text = objects().split("---", 1)[1]
    async with running(tmp_path, registry, line, text) as (daemon, _):
        await until(lambda: line.written == ["1.0.0"] and daemon.health()[1]["policies"] == 1)
        registry.push("1.1.0")
        assert daemon.hint(IMAGE, "1.1.0")
        await until(lambda: line.written[-1] == "1.1.0")
        (tmp_path / "objects.yaml").write_text(text + "\n# edited\n")
        await until(lambda: b'reloads_total{result="good"} 1.0' in daemon.metrics_text())
        assert daemon.health()[1]["policies"] == 1
