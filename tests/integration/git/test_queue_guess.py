"""After its own push the queue plans on what it left there, and nothing that this assumes is final unless it is so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from image_updater.api.model import Author
from image_updater.errors import Refused
from image_updater.git.access import GitAccess
from image_updater.git.mirror import Mirror, Tip
from image_updater.git.queue import Outcome, Planned, Work, WriterQueue
from tests.parts import gitservers as parts

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ME = Author(name="updater", email="updater@example.com")
ACCESS = GitAccess(identity="test", timeout=timedelta(seconds=30))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[parts.HttpServer]:
    with parts.http_server(tmp_path_factory.mktemp("guess")) as started:
        yield started


def setting(value: str, seen: list[bytes], *, refuse: bytes | None = None) -> Work:
    """Writes `value` into `a`, whatever is there; refuses where `b` holds `refuse`."""

    async def plan(tip: Tip) -> Planned | None:
        seen.append(tip.tree.read("b"))
        if tip.tree.read("b") == refuse:
            raise Refused(f"b holds {refuse!r}")
        if tip.tree.read("a") == value.encode():
            return None
        return Planned(files={"a": value.encode()}, message=f"Set {value}\n\nAutomation: x/y\n", author=ME)

    return Work(key="x/y", plan=plan)


def fetches(server: parts.HttpServer) -> int:
    return sum("service=git-upload-pack" in line for line in server.requests())


async def test_the_second_update_in_a_row_needs_no_fetch(server: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(server.root / "o/second.git", files={"a": "0", "b": "0"})
    seen: list[bytes] = []
    with Mirror.open(tmp_path / "m", server.url("o/second.git"), ACCESS) as mirror:
        queue = WriterQueue(mirror, "main", now=lambda: NOW)
        await queue.submit(setting("1", seen))
        before = fetches(server)
        outcome = await queue.submit(setting("2", seen))
        assert fetches(server) == before
    assert outcome.error is None
    assert outcome.attempts == 1
    assert parts.git("rev-parse", "main", cwd=bare) == outcome.commit
    assert parts.git("show", "main:a", cwd=bare) == "2"


async def test_a_person_between_two_updates_is_seen_and_is_no_race(server: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(server.root / "o/between.git", files={"a": "0", "b": "0"})
    seen: list[bytes] = []
    with Mirror.open(tmp_path / "m", server.url("o/between.git"), ACCESS) as mirror:
        queue = WriterQueue(mirror, "main", now=lambda: NOW)
        await queue.submit(setting("1", seen))
        theirs = parts.commit(bare, {"b": "person"})
        outcome = await queue.submit(setting("2", seen))
    assert outcome == Outcome(commit=outcome.commit, attempts=1)
    assert seen == [b"0", b"0", b"person"]
    assert parts.git("rev-parse", "main~1", cwd=bare) == theirs
    assert (parts.git("show", "main:a", cwd=bare), parts.git("show", "main:b", cwd=bare)) == ("2", "person")


@pytest.mark.parametrize(("value", "refuse"), [("1", None), ("2", b"0")], ids=["nothing-to-do", "an-error"])
async def test_what_is_said_without_a_push_is_said_of_the_branch_as_it_is(
    server: parts.HttpServer, tmp_path: Path, value: str, refuse: bytes | None
) -> None:
    name = f"o/said-{value}.git"
    bare = parts.bare(server.root / name, files={"a": "0", "b": "0"})
    seen: list[bytes] = []
    with Mirror.open(tmp_path / "m", server.url(name), ACCESS) as mirror:
        queue = WriterQueue(mirror, "main", now=lambda: NOW)
        await queue.submit(setting("1", seen))
        parts.commit(bare, {"a": "person", "b": "person"})
        outcome = await queue.submit(setting(value, seen, refuse=refuse))
    assert seen == [b"0", b"0", b"person"]
    assert outcome.error is None
    assert parts.git("show", "main:a", cwd=bare) == value


async def test_a_mirror_made_anew_is_fetched(server: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(server.root / "o/anew.git", files={"a": "0", "b": "0"})
    seen: list[bytes] = []
    with Mirror.open(tmp_path / "m", server.url("o/anew.git"), ACCESS) as mirror:
        queue = WriterQueue(mirror, "main", now=lambda: NOW)
        await queue.submit(setting("1", seen))
        mirror.suspect()
        await mirror.fetch("main")
        outcome = await queue.submit(setting("2", seen))
    assert outcome.error is None
    assert parts.git("show", "main:a", cwd=bare) == "2"
