"""The writer queue against real servers: nothing lost, nothing twice, whoever else writes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from image_updater.api.model import Author, Meta, ObjectKey, Secret, VerifyMode
from image_updater.errors import Refused
from image_updater.git import signing, verify
from image_updater.git.access import GitAccess
from image_updater.git.errors import (
    BranchNotFound,
    GitUnavailable,
    PushRaced,
    PushRefused,
    SignatureInvalid,
    TreeRefused,
)
from image_updater.git.mirror import Mirror, Tip
from image_updater.git.queue import Limits, NotLeader, Outcome, Planned, Work, WriterQueue
from tests.parts import gitservers as parts

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ME = Author(name="updater", email="updater@example.com")
ACCESS = GitAccess(identity="test", timeout=timedelta(seconds=30))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[parts.HttpServer]:
    with parts.http_server(tmp_path_factory.mktemp("queue")) as started:
        yield started


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


def setting(key: str, value: str, *, file: str = "a.yaml", identity: str = "") -> Work:
    """Sets `key: value` in a file of `key: value` lines; nothing to do when it is so already."""

    async def plan(tip: Tip) -> Planned | None:
        lines = tip.tree.read(file).decode().splitlines()
        wanted = [f"{key}: {value}" if line.startswith(f"{key}:") else line for line in lines]
        if wanted == lines:
            return None
        message = f"Set {key} to {value}\n\nAutomation: default/{key}\n"
        return Planned(files={file: ("\n".join(wanted) + "\n").encode()}, message=message, author=ME)

    return Work(key=key, plan=plan, identity=identity)


def lines(count: int) -> str:
    return "".join(f"k{n}: 0\n" for n in range(count))


def log(bare: Path, branch: str = "main") -> list[str]:
    return parts.git("log", "--format=%s", branch, cwd=bare).splitlines()


async def test_what_waits_together_is_one_push_and_a_commit_each(server: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(server.root / "o/batch.git", files={"a.yaml": lines(20)})
    with Mirror.open(tmp_path / "m", server.url("o/batch.git"), ACCESS) as mirror:
        queue = WriterQueue(mirror, "main", now=lambda: NOW)
        outcomes = await asyncio.gather(*(queue.submit(setting(f"k{n}", "1")) for n in range(20)))
        assert queue.pushes == 1
        assert all(o.error is None and o.commit and o.attempts == 1 for o in outcomes)
        again = await asyncio.gather(*(queue.submit(setting(f"k{n}", "1")) for n in range(20)))
        assert again == [Outcome(attempts=1)] * 20
        assert queue.pushes == 1
    assert parts.git("show", "main:a.yaml", cwd=bare) == lines(20).replace(": 0", ": 1").strip()
    assert len(log(bare)) == 21
    assert [o.commit for o in outcomes] == parts.git("rev-list", "--reverse", "main", cwd=bare).splitlines()[1:]


async def test_a_plan_sees_what_the_one_before_it_wrote_and_a_person_in_between(
    server: parts.HttpServer, tmp_path: Path
) -> None:
    bare = parts.bare(server.root / "o/seen.git", files={"a.yaml": lines(2)})
    seen: list[bytes] = []

    async def plan(tip: Tip) -> Planned | None:
        seen.append(tip.tree.read("a.yaml"))
        if len(seen) == 1:
            parts.commit(bare, {"a.yaml": "k0: person\nk1: 0\n"})
        return await setting("k1", "1").plan(tip)

    with Mirror.open(tmp_path / "m", server.url("o/seen.git"), ACCESS) as mirror:
        queue = WriterQueue(mirror, "main", now=lambda: NOW, sleep=no_sleep)
        outcome = await queue.submit(Work(key="k1", plan=plan))
    assert outcome.attempts == 2
    assert [a.reason for a in outcome.history] == ["PushRaced"]
    assert seen == [b"k0: 0\nk1: 0\n", b"k0: person\nk1: 0\n"]
    assert parts.git("show", "main:a.yaml", cwd=bare) == "k0: person\nk1: 1"


async def test_races_are_bounded_and_say_so(server: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(server.root / "o/bounded.git", files={"a.yaml": lines(1), "b": "0"})

    async def plan(tip: Tip) -> Planned | None:
        parts.commit(bare, {"b": os.urandom(4).hex()})
        return await setting("k0", "1").plan(tip)

    with Mirror.open(tmp_path / "m", server.url("o/bounded.git"), ACCESS) as mirror:
        queue = WriterQueue(mirror, "main", now=lambda: NOW, sleep=no_sleep, limits=Limits(races=3))
        outcome = await queue.submit(Work(key="k", plan=plan))
    assert isinstance(outcome.error, PushRaced)
    assert outcome.attempts == 3
    assert len(outcome.history) == 3


async def test_twenty_queues_on_twenty_mirrors_lose_nothing(server: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(server.root / "o/twenty.git", files={"a.yaml": lines(20)})
    mirrors = [Mirror.open(tmp_path / f"m{n}", server.url("o/twenty.git"), ACCESS) for n in range(20)]
    queues = [WriterQueue(m, "main", now=lambda: NOW) for m in mirrors]
    outcomes = await asyncio.gather(*(q.submit(setting(f"k{n}", "1")) for n, q in enumerate(queues)))
    for mirror in mirrors:
        mirror.close()
    assert [o.error for o in outcomes] == [None] * 20
    assert parts.git("show", "main:a.yaml", cwd=bare) == lines(20).replace(": 0", ": 1").strip()
    subjects = log(bare)
    assert len(subjects) == len(set(subjects)) == 21
    parts.git("fsck", "--strict", cwd=bare)


async def test_only_the_offender_of_a_hook_fails(server: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(server.root / "o/offender.git", files={"a.yaml": lines(3)})
    parts.set_hook(
        bare,
        "#!/bin/sh\nwhile read old new ref; do git log --format=%s $old..$new | grep -q k1"
        " && { echo 'k1 is frozen' >&2; exit 1; }; done\nexit 0\n",
    )
    with Mirror.open(tmp_path / "m", server.url("o/offender.git"), ACCESS) as mirror:
        queue = WriterQueue(mirror, "main", now=lambda: NOW, sleep=no_sleep)
        outcomes = await asyncio.gather(*(queue.submit(setting(f"k{n}", "1")) for n in range(3)))
    assert outcomes[0].commit
    assert outcomes[2].commit
    assert isinstance(outcomes[1].error, PushRefused)
    assert "k1 is frozen" in outcomes[1].error.words
    assert parts.git("show", "main:a.yaml", cwd=bare) == "k0: 1\nk1: 0\nk2: 1"


async def test_identities_are_pushed_apart(server: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(server.root / "o/apart.git", files={"a.yaml": lines(4)})
    with Mirror.open(tmp_path / "m", server.url("o/apart.git"), ACCESS) as mirror:
        queue = WriterQueue(mirror, "main", now=lambda: NOW)
        works = [setting(f"k{n}", "1", identity="secret:a" if n % 2 else "secret:b") for n in range(4)]
        outcomes = await asyncio.gather(*(queue.submit(w) for w in works))
        assert queue.pushes == 2
    assert all(o.commit for o in outcomes)
    assert len(log(bare)) == 5


async def test_a_failing_plan_fails_alone_and_a_bug_is_raised(server: parts.HttpServer, tmp_path: Path) -> None:
    parts.bare(server.root / "o/fails.git", files={"a.yaml": lines(2)})

    async def refuses(tip: Tip) -> Planned | None:
        raise Refused("no proof", remedy="none")

    async def bug(tip: Tip) -> Planned | None:
        raise ZeroDivisionError

    async def outside(tip: Tip) -> Planned | None:
        return Planned(files={"../x": b"1"}, message="x", author=ME)

    with Mirror.open(tmp_path / "m", server.url("o/fails.git"), ACCESS) as mirror:
        queue = WriterQueue(mirror, "main", now=lambda: NOW)
        results = await asyncio.gather(
            queue.submit(Work(key="a", plan=refuses)),
            queue.submit(Work(key="b", plan=bug)),
            queue.submit(setting("k0", "1")),
            queue.submit(Work(key="c", plan=outside)),
            return_exceptions=True,
        )
    assert isinstance(results[0], Outcome)
    assert isinstance(results[0].error, Refused)
    assert isinstance(results[1], ZeroDivisionError)
    assert isinstance(results[2], Outcome)
    assert results[2].commit
    assert isinstance(results[3], Outcome)
    assert isinstance(results[3].error, TreeRefused)


async def test_who_does_not_lead_pushes_nothing(server: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(server.root / "o/lead.git", files={"a.yaml": lines(1)})
    with Mirror.open(tmp_path / "m", server.url("o/lead.git"), ACCESS) as mirror:
        outcome = await WriterQueue(mirror, "main", may_push=lambda: False).submit(setting("k0", "1"))
    assert isinstance(outcome.error, NotLeader)
    assert len(log(bare)) == 1


@pytest.mark.parametrize("down", [100, 400, 900, 1500, 2500])
async def test_a_cut_connection_never_makes_two_commits(server: parts.HttpServer, tmp_path: Path, down: int) -> None:
    name = f"o/cut{down}.git"
    bare = parts.bare(server.root / name, files={"a.yaml": lines(1)})
    with (
        parts.TcpProxy(target=server.port, cut_down=down, cuts=2) as proxy,
        Mirror.open(tmp_path / "m", f"http://127.0.0.1:{proxy.port}/{name}", ACCESS) as mirror,
    ):
        queue = WriterQueue(mirror, "main", now=lambda: NOW, sleep=no_sleep)
        outcome = await queue.submit(setting("k0", "1"))
    assert outcome.error is None
    assert proxy.cuts < 2 or down > 1000
    assert log(bare) == ["Set k0 to 1", "Start"]


async def test_a_lost_answer_is_found_by_the_next_fetch(
    server: parts.HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = parts.bare(server.root / "o/answer.git", files={"a.yaml": lines(2)})
    with Mirror.open(tmp_path / "m", server.url("o/answer.git"), ACCESS) as mirror:
        push = mirror.push
        calls = 0

        async def lossy(commit: str, branch: str, **more: object) -> None:
            nonlocal calls
            calls += 1
            await push(commit, branch, **more)  # type: ignore[arg-type]
            if calls == 1:
                parts.commit(bare, {"a.yaml": "k0: reverted\nk1: 0\n"}, message="Person")
                raise GitUnavailable("cut")

        monkeypatch.setattr(mirror, "push", lossy)
        outcome = await WriterQueue(mirror, "main", now=lambda: NOW, sleep=no_sleep).submit(setting("k0", "1"))
    assert outcome.error is None
    # The person's later commit stands: the work had landed, so it is not written a second time over it.
    assert log(bare) == ["Person", "Set k0 to 1", "Start"]
    assert outcome.commit == parts.git("rev-parse", "main~1", cwd=bare)


async def test_another_push_branch_is_rebuilt_and_a_persons_commit_on_it_stops_us(
    server: parts.HttpServer, tmp_path: Path
) -> None:
    bare = parts.bare(server.root / "o/base.git", files={"a.yaml": lines(3)})
    with Mirror.open(tmp_path / "m", server.url("o/base.git"), ACCESS) as mirror:
        queue = WriterQueue(mirror, "updates", base="main", now=lambda: NOW, sleep=no_sleep)
        first = await queue.submit(setting("k0", "1"))
        assert first.error is None
        await queue.submit(setting("k1", "1"))
        assert parts.git("show", "updates:a.yaml", cwd=bare) == "k0: 1\nk1: 1\nk2: 0"
        pushes = queue.pushes
        again = await queue.submit(setting("k1", "1"))
        assert again.commit
        assert again.stood
        assert queue.pushes == pushes
        parts.commit(bare, {"b": "1"})
        await queue.submit(setting("k2", "1"))
        assert parts.git("merge-base", "updates", "main", cwd=bare) == parts.git("rev-parse", "main", cwd=bare)
        assert parts.git("show", "updates:a.yaml", cwd=bare) == "k0: 1\nk1: 1\nk2: 1"
        queue.retain({"k0", "k2"})
        await queue.submit(setting("k2", "2"))
        assert parts.git("show", "updates:a.yaml", cwd=bare) == "k0: 1\nk1: 0\nk2: 2", "k1 is gone, or suspended"
        mine = parts.commit(bare, {"c": "1"}, branch="updates", message="By hand")
        stopped = await queue.submit(setting("k2", "3"))
        assert isinstance(stopped.error, TreeRefused)
        assert "By hand" in str(stopped.error)
        assert parts.git("rev-parse", "updates", cwd=bare) == mine


async def test_a_push_branch_that_forked_off_long_ago_is_no_persons(server: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(server.root / "o/old.git", files={"a.yaml": lines(2)})
    text = b"".join(
        b"commit refs/heads/main\ncommitter p <p@e> %d +0000\ndata 2\nx\nM 644 inline n\ndata 3\n%03d\n\n"
        % (1700000000 + n, n)
        for n in range(80)
    )

    def grow() -> None:
        start = parts.git("rev-parse", "main", cwd=bare).encode()
        parts.git("fast-import", "--quiet", cwd=bare, stdin=text.replace(b"x\n", b"x\nfrom " + start + b"\n", 1))

    grow()
    with Mirror.open(tmp_path / "m", server.url("o/old.git"), ACCESS) as mirror:
        assert (await WriterQueue(mirror, "updates", base="main", now=lambda: NOW).submit(setting("k0", "1"))).commit
    grow()
    with Mirror.open(tmp_path / "n", server.url("o/old.git"), ACCESS) as mirror:
        outcome = await WriterQueue(mirror, "updates", base="main", now=lambda: NOW).submit(setting("k0", "1"))
    assert outcome.error is None
    assert parts.git("rev-parse", "updates~1", cwd=bare) == parts.git("rev-parse", "main", cwd=bare)


WRITER = textwrap.dedent(
    """
    import asyncio, os, sys
    from datetime import timedelta
    from pathlib import Path
    from image_updater.api.model import Author
    from image_updater.git.access import GitAccess
    from image_updater.git.mirror import Mirror
    from image_updater.git.queue import Planned, Work, WriterQueue

    url, folder, key, die = sys.argv[1:5]

    async def plan(tip):
        lines = tip.tree.read("a.yaml").decode().splitlines()
        wanted = [key + ": 1" if line.startswith(key + ":") else line for line in lines]
        if wanted == lines:
            return None
        return Planned(files={"a.yaml": ("\\n".join(wanted) + "\\n").encode()}, message="Set " + key, author=Author())

    async def main():
        mirror = Mirror.open(Path(folder), url, GitAccess(timeout=timedelta(seconds=60)))
        push = mirror.push
        async def deadly(*a, **k):
            if die == "before push":
                os.kill(os.getpid(), 9)
            await push(*a, **k)
            if die == "after push":
                os.kill(os.getpid(), 9)
        if die:
            mirror.push = deadly
        outcome = await WriterQueue(mirror, "main").submit(Work(key=key, plan=plan))
        print(outcome.commit, outcome.attempts)
        sys.exit(1 if outcome.error else 0)

    asyncio.run(main())
    """
)


def writer(url: str, folder: Path, key: str, die: str = "") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, url, str(folder), key, die], stdout=subprocess.PIPE)


@pytest.mark.parametrize("die", ["before push", "after push"])
def test_a_killed_writer_leaves_no_half_and_no_double(server: parts.HttpServer, tmp_path: Path, die: str) -> None:
    name = f"o/kill-{die.replace(' ', '-')}.git"
    bare = parts.bare(server.root / name, files={"a.yaml": lines(2)})
    killed = writer(server.url(name), tmp_path / "m", "k0", die)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    again = writer(server.url(name), tmp_path / "m", "k0")
    again.communicate(timeout=60)
    assert again.returncode == 0
    assert log(bare) == ["Set k0", "Start"]
    assert parts.git("show", "main:a.yaml", cwd=bare) == "k0: 1\nk1: 0"


def test_locks_of_a_killed_process_are_cleared(server: parts.HttpServer, tmp_path: Path) -> None:
    parts.bare(server.root / "o/locks.git", files={"a.yaml": lines(1)})
    access = replace(ACCESS, timeout=timedelta(seconds=20))
    with Mirror.open(tmp_path / "m", server.url("o/locks.git"), access) as mirror:
        asyncio.run(mirror.fetch("main"))
    for name in ("refs/mirror/heads/main.lock", "config.lock", "shallow.lock"):
        (tmp_path / "m/repository-1" / name).write_text("")
    parts.commit(server.root / "o/locks.git", {"a.yaml": "k0: 5\n"})
    with Mirror.open(tmp_path / "m", server.url("o/locks.git"), access) as mirror:
        assert asyncio.run(mirror.fetch("main")).tree.read("a.yaml") == b"k0: 5\n"


def test_six_processes_on_one_branch_all_land(server: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(server.root / "o/processes.git", files={"a.yaml": lines(6)})
    running = [writer(server.url("o/processes.git"), tmp_path / f"m{n}", f"k{n}") for n in range(6)]
    for process in running:
        process.communicate(timeout=120)
    assert [p.returncode for p in running] == [0] * 6
    assert parts.git("show", "main:a.yaml", cwd=bare) == lines(6).replace(": 0", ": 1").strip()
    assert len(log(bare)) == 7


async def test_a_tip_that_is_not_signed_as_it_must_be_is_never_planned_on(
    server: parts.HttpServer, tmp_path: Path
) -> None:
    bare = parts.bare(server.root / "o/verify.git", files={"a.yaml": lines(2)})
    key, public = parts.keypair(tmp_path / "key")
    keys = verify.keys_from_secret(Secret(meta=Meta(key=ObjectKey("default", "keys")), data={"a.pub": public.encode()}))
    signer = signing.SshSigner.load(key, None)
    with Mirror.open(tmp_path / "m", server.url("o/verify.git"), ACCESS) as mirror:
        queue = WriterQueue(mirror, "main", now=lambda: NOW)
        planned: list[str] = []

        def strict(name: str) -> Work:
            inner = setting(name, "1")

            async def plan(tip: Tip) -> Planned | None:
                planned.append(name)
                found = await inner.plan(tip)
                return replace(found, signer=signer) if found is not None else None

            return Work(key=name, plan=plan, verify=lambda tip: mirror.verify(tip, keys, VerifyMode.HEAD))

        before = parts.git("rev-parse", "main", cwd=bare)
        outcome = await queue.submit(strict("k0"))
        assert isinstance(outcome.error, SignatureInvalid)
        assert "not signed" in outcome.error.message
        assert (planned, queue.pushes, parts.git("rev-parse", "main", cwd=bare)) == ([], 0, before)

        # Who asks for no signature is not held up by who does.
        refused, landed = await asyncio.gather(queue.submit(strict("k0")), queue.submit(setting("k1", "1")))
        assert isinstance(refused.error, SignatureInvalid)
        assert landed.error is None
        assert landed.commit == parts.git("rev-parse", "main", cwd=bare)

        # On a signed tip both of two works go through, though the second plans on the first's commit.
        tip = await mirror.fetch("main")
        signed = await mirror.commit(tip.commit, {"b.yaml": b"b: 1\n"}, "Sign\n", ME, signer, NOW)
        await mirror.push(signed, "main", expected=tip.commit)
        done = await asyncio.gather(queue.submit(strict("k0")), queue.submit(strict("k1")))
        assert [each.error for each in done] == [None, None]
    assert planned == ["k0", "k1"]


async def test_the_default_branch_is_the_one_that_head_names(server: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(server.root / "o/default.git", branch="trunk")
    with Mirror.open(tmp_path / "m", server.url("o/default.git"), ACCESS) as mirror:
        with pytest.raises(BranchNotFound, match="is empty: it has no commit"):
            await mirror.default_branch()
        parts.commit(bare, {"a.yaml": "a: 1\n"}, branch="trunk")
        parts.commit(bare, {"a.yaml": "a: 1\n"}, branch="a-other")
        assert await mirror.default_branch() == "trunk"
        assert (await mirror.fetch("trunk")).branch == "trunk"
        parts.git("symbolic-ref", "HEAD", "refs/heads/gone", cwd=bare)
        with pytest.raises(BranchNotFound, match="names no default branch; it has a-other, trunk"):
            await mirror.default_branch()
        parts.git("symbolic-ref", "HEAD", "refs/heads/a-other", cwd=bare)
        assert await mirror.default_branch() == "a-other"
