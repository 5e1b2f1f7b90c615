"""The machine we run on: a full disk, a HOME that is not ours, no HOME, no temporary folder."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pygit2
import pytest

from image_updater.git import sshhome
from image_updater.git.access import GitAccess
from image_updater.git.errors import GitUnavailable
from image_updater.git.mirror import Mirror

ROOT = Path(__file__).resolve().parents[3]
NOBODY = 65534
KNOWN = b"git.example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n"


def in_child(text: str, folder: Path, *, home: Path | None = None, user: int | None = None) -> dict[str, Any]:
    """Run `text` in an interpreter of its own; what it leaves in `answer`. `user`: as that one, where we may."""
    head = f"""
        import os, sys
        sys.path[:] = {sys.path!r}
        import asyncio, concurrent.futures.thread, json, resource
        from datetime import UTC, datetime
        from pathlib import Path
        import pygit2
        from image_updater import git
        from image_updater.git import access, sshhome
        from image_updater.api.model import Author
        from image_updater.git.mirror import Mirror
        from image_updater.git.seed import create_repository
        from image_updater.git.checkout import Checkout
        ME = Author(name="a", email="a@example.org")
        FOLDER = Path({str(folder)!r})
        answer = {{}}
        out = os.dup(1)
        user = {user!r}
        if user is not None and os.geteuid() == 0:
            # The modules are where only root may read: they are there by now.
            os.setgroups([]); os.setgid(user); os.setuid(user)
        """
    code = textwrap.dedent(head) + textwrap.dedent(text) + "\nos.write(out, json.dumps(answer).encode())\n"
    environment = {"PATH": os.environ["PATH"]} | ({"HOME": str(home)} if home is not None else {})
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_full_disk_is_said_and_costs_no_mirror(tmp_path: Path) -> None:
    """Writes fail at a size, as they do on a full disk; when there is room again the same mirror goes on."""
    found = in_child(
        """
        def room(size):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        files = {f"f{i}.yaml": os.urandom(3000) for i in range(20)}
        create_repository(FOLDER / "up.git", files, author=ME, when=datetime.now(UTC), message="x")
        async def attempt(name, work):
            try:
                await work
                answer[name] = None
            except Exception as error:
                answer[name] = [error.reason, str(error)]
        async def main():
            mirror = Mirror.open(FOLDER / "m", f"file://{FOLDER / 'up.git'}", git.GitAccess())
            room(4096)
            await attempt("fetch", mirror.fetch("main"))
            room(resource.RLIM_INFINITY)
            answer["mirror"] = sorted(path.name for path in (FOLDER / "m").iterdir())
            tip = await mirror.fetch("main")
            room(512)
            change = {"f1.yaml": os.urandom(9000)}
            await attempt("commit", mirror.commit(tip.commit, change, "m", ME, None, datetime.now(UTC)))
            room(0)
            async def opened():
                Mirror.open(FOLDER / "other", f"file://{FOLDER / 'up.git'}", git.GitAccess())
            await attempt("open", opened())
            room(resource.RLIM_INFINITY)
            answer["packs"] = [path.name for path in (FOLDER / "m").glob("*/objects/pack/pack_git2*")]
            mirror.close()
        asyncio.run(main())
        """,
        tmp_path,
        home=tmp_path,
    )
    for name in ("fetch", "commit", "open"):
        assert found[name][0] == "GitUnavailable", found
        assert "rights" in found[name][1]
    assert found["mirror"] == ["current", "lock", "repository-1"]
    assert found["packs"] == []


def test_a_home_of_somebody_else_is_passed_over() -> None:
    """A container that runs as a user of its own often keeps root's HOME."""
    with tempfile.TemporaryDirectory() as place:
        folder, home = Path(place, "work"), Path(place, "home")
        folder.mkdir()
        (home / ".ssh").mkdir(parents=True)
        (home / ".ssh" / "known_hosts").write_text("")
        (home / ".gitconfig").write_text("[user]\n\tname = somebody\n")
        home.chmod(0)
        if os.geteuid() == 0:
            Path(place).chmod(0o711)
            os.chown(folder, NOBODY, NOBODY)
        found = in_child(
            """
            access = git.access_for(None, lambda key: None, {"HOME": os.environ["HOME"]})
            answer["known"] = access.known_hosts is not None and len(access.known_hosts)
            create_repository(FOLDER / "up.git", {"a": b"a"}, author=ME, when=datetime.now(UTC), message="x")
            with Mirror.open(FOLDER / "m", f"file://{FOLDER / 'up.git'}", access) as mirror:
                answer["tip"] = len(asyncio.run(mirror.fetch("main")).commit)
            pygit2.init_repository(str(FOLDER / "checkout"))
            answer["files"] = list(Checkout.open(FOLDER / "checkout").tree().files())
            """,
            folder,
            home=home,
            user=NOBODY,
        )
        home.chmod(0o700)
    assert (found["tip"], found["files"]) == (40, [])


def test_no_home_at_all(tmp_path: Path) -> None:
    found = in_child(
        """
        access = git.access_for(None, lambda key: None, {})
        answer["keys"] = list(access.ssh_key_files)
        create_repository(FOLDER / "up.git", {"a": b"a"}, author=ME, when=datetime.now(UTC), message="x")
        with Mirror.open(FOLDER / "m", f"file://{FOLDER / 'up.git'}", access) as mirror:
            answer["tip"] = len(asyncio.run(mirror.fetch("main")).commit)
        """,
        tmp_path,
    )
    assert found == {"keys": [], "tip": 40}


def known_hosts_in_use() -> Path:
    return Path(str(pygit2.settings.homedir)) / ".ssh" / "known_hosts"


def test_a_home_for_host_keys_that_was_cleaned_away_is_made_anew() -> None:
    """Cleaners of temporary folders take what nobody touched for days; a daemon lives longer."""
    with sshhome.preferring(KNOWN, "git.example.org", 22, timeout=1):
        first = known_hosts_in_use()
        assert b"git.example.org" in first.read_bytes()
    shutil.rmtree(first.parents[1])
    with sshhome.preferring(KNOWN, "git.example.org", 22, timeout=1):
        assert b"git.example.org" in known_hosts_in_use().read_bytes()


def test_no_room_for_host_keys_is_a_passing_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **more: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tempfile.mkdtemp", full)
        patch.setattr(sshhome, "_home", None)
        with (
            pytest.raises(GitUnavailable, match="No space left"),
            sshhome.preferring(KNOWN, "other.example.org", 22, timeout=1),
        ):
            raise AssertionError("unreachable")
    other = b"other.example.org " + KNOWN.split(b" ", 1)[1]
    with sshhome.preferring(other, "other.example.org", 22, timeout=0.1):
        assert b"other.example.org" in known_hosts_in_use().read_bytes()


async def test_a_mirror_keeps_its_folder_until_its_last_operation_ends(tmp_path: Path) -> None:
    """An operation that was left to itself still writes: nobody else may clean up or use that folder."""
    mirror = Mirror.open(tmp_path / "m", f"file://{tmp_path}", GitAccess())
    end, begun = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        end.wait(10)

    running = asyncio.create_task(mirror._run(work, timedelta(seconds=10), "waiting"))
    await asyncio.to_thread(begun.wait, 10)
    running.cancel()
    await asyncio.wait({running})
    mirror.close()
    with Mirror.open(tmp_path / "m", f"file://{tmp_path}", GitAccess()) as other:
        assert other.folder.name == "m.1"
    end.set()
    while mirror._busy.locked():
        await asyncio.sleep(0.01)
    with Mirror.open(tmp_path / "m", f"file://{tmp_path}", GitAccess()) as other:
        assert other.folder.name == "m"


async def test_servers_that_do_not_answer_keep_no_thread_from_the_rest_of_the_process(tmp_path: Path) -> None:
    """A dead Git host with many repositories must not end DNS, file reads, or other repositories."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    begun, answered = threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return answered.wait(10)

    mirrors = [Mirror.open(tmp_path / str(number), f"file://{tmp_path}/{number}", GitAccess()) for number in range(8)]
    hanging = [asyncio.create_task(mirror._run(work, timedelta(seconds=30), "waiting")) for mirror in mirrors]
    while not begun.is_set():
        await asyncio.sleep(0)
    await asyncio.to_thread(answered.set)
    assert await asyncio.gather(*hanging) == [True] * 8
    for mirror in mirrors:
        mirror.close()
