"""One fetch for all that are one, and none where none is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from image_updater.api.model import GitRef, ObjectKey
from image_updater.controller.sources.fetching import LAG, Fetch, Revision, fetch_key
from image_updater.errors import ImageUpdaterError
from image_updater.git import GitAccess
from image_updater.git.errors import BranchNotFound, RevisionNotFound
from image_updater.pipeline.mirrors import Mirrors
from tests.parts import gitservers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def mirrors(tmp_path: Path) -> Iterator[Mirrors]:
    opened = Mirrors(tmp_path / "mirrors")
    yield opened
    opened.close()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return gitservers.bare(tmp_path / "fleet.git", files={"a.yaml": "a: 1\n"})


def fetch_of(repository: Path, clock: Clock | None = None, **ref: Any) -> Fetch:
    access, given = GitAccess(), GitRef(**ref)
    return Fetch(fetch_key(str(repository), access, given), str(repository), access, given, monotonic=clock or Clock())


def test_revisions_are_written_as_flux_writes_them() -> None:
    known = {"repository": ObjectKey("apps", "fleet"), "commit": "1234", "tree": None}
    assert str(Revision(branch="main", **known)) == "main@sha1:1234"  # type: ignore[arg-type]
    assert str(Revision(branch="", **known)) == "sha1:1234"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ({"branch": "main"}, {"branch": "main"}, True),
        ({"branch": "main"}, {"tag": "main"}, False),
        ({"branch": "main"}, {}, False),
        ({"commit": "a" * 40}, {"commit": "b" * 40}, False),
    ],
)
def test_what_is_one_fetch(left: dict[str, str], right: dict[str, str], same: bool) -> None:
    urls = ("https://git.example.com/acme/fleet", "https://git.example.com/acme/fleet.git")
    keys = [fetch_key(url, GitAccess(), GitRef(**ref)) for url, ref in zip(urls, (left, right), strict=True)]
    assert (keys[0] == keys[1]) is same
    assert keys[0] != fetch_key(urls[0], GitAccess(identity="secret:a/b"), GitRef(**left))


async def test_when_the_server_was_asked_is_known(mirrors: Mirrors, repository: Path) -> None:
    clock = Clock()
    fetch = fetch_of(repository, clock, branch="main")
    assert fetch.read_at < 0
    await fetch.fetch(mirrors)
    assert fetch.read_at == clock.now
    asked, clock.now = clock.now, clock.now + 5
    pushed = gitservers.commit(repository, {"a.yaml": "a: 2\n"})
    repository.rename(repository.with_name("away.git"))
    with pytest.raises(ImageUpdaterError):
        await fetch.fetch(mirrors)
    assert await fetch.take(mirrors, "main", pushed) is None
    assert fetch.read_at == asked, "a server that does not answer has said nothing"


async def test_since_when_a_commit_is_known_and_nothing_answers(mirrors: Mirrors, repository: Path) -> None:
    clock = Clock()
    fetch = fetch_of(repository, clock, branch="main")
    await fetch.fetch(mirrors)
    seen, clock.now = clock.now, clock.now + 5
    await fetch.fetch(mirrors)
    assert (fetch.seen_at, fetch.failing_since) == (seen, None)
    gitservers.commit(repository, {"a.yaml": "a: 2\n"})
    await fetch.fetch(mirrors)
    assert fetch.seen_at == seen + 5
    away = repository.rename(repository.with_name("away.git"))
    for _ in range(2):
        clock.now += 1
        with pytest.raises(ImageUpdaterError):
            await fetch.fetch(mirrors)
    assert (fetch.seen_at, fetch.failing_since) == (seen + 5, seen + 6)
    away.rename(repository)
    await fetch.fetch(mirrors)
    assert fetch.failing_since is None


async def test_what_we_pushed_is_there_without_a_request(mirrors: Mirrors, repository: Path) -> None:
    fetch = fetch_of(repository, branch="main")
    mirror, tip = await fetch.fetch(mirrors)
    pushed = gitservers.commit(repository, {"a.yaml": "a: 2\n"})
    assert await fetch.take(mirrors, "main", pushed) is None, "another login's push is not in this mirror"
    await mirror.fetch("main")
    repository.rename(repository.with_name("away.git"))
    taken = await fetch.take(mirrors, "main", pushed)
    assert taken is not None
    assert taken[1].commit == pushed != tip.commit
    assert taken[1].tree.read("a.yaml") == b"a: 2\n"


async def test_a_replica_that_lags_behind_our_push_takes_nothing_back(mirrors: Mirrors, repository: Path) -> None:
    clock = Clock()
    fetch = fetch_of(repository, clock, branch="main")
    mirror, first = await fetch.fetch(mirrors)
    pushed = gitservers.commit(repository, {"a.yaml": "a: 2\n"})
    await mirror.fetch("main")
    await fetch.take(mirrors, "main", pushed)
    gitservers.git("update-ref", "refs/heads/main", first.commit, cwd=repository)
    assert (await fetch.fetch(mirrors))[1].commit == pushed
    clock.now += LAG + 1
    assert (await fetch.fetch(mirrors))[1].commit == first.commit, "a person has set the branch back"


async def test_a_pinned_commit_is_fetched_once(mirrors: Mirrors, repository: Path) -> None:
    first = gitservers.git("rev-parse", "main", cwd=repository)
    gitservers.commit(repository, {"a.yaml": "a: 2\n"})
    fetch = fetch_of(repository, commit=first)
    assert (await fetch.fetch(mirrors))[1].tree.read("a.yaml") == b"a: 1\n"
    repository.rename(repository.with_name("away.git"))
    assert (await fetch.fetch(mirrors))[1].commit == first


async def test_what_is_not_there_is_said(mirrors: Mirrors, repository: Path) -> None:
    with pytest.raises(BranchNotFound):
        await fetch_of(repository, branch="none").fetch(mirrors)
    with pytest.raises(RevisionNotFound):
        await fetch_of(repository, commit="a" * 40).fetch(mirrors)


async def test_a_default_branch_that_is_renamed_is_found_again(mirrors: Mirrors, repository: Path) -> None:
    clock = Clock()
    fetch = fetch_of(repository, clock)
    _, tip = await fetch.fetch(mirrors)
    assert (tip.branch, fetch.branch) == ("main", "main")
    gitservers.git("branch", "-m", "main", "trunk", cwd=repository)
    gitservers.git("symbolic-ref", "HEAD", "refs/heads/trunk", cwd=repository)
    clock.now += 1
    _, tip = await fetch.fetch(mirrors)
    assert (tip.branch, fetch.branch) == ("trunk", "trunk")
