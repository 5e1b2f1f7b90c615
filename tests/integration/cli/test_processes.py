"""`run` and `demo` as processes: what they leave in Git and on disk, and how they end."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import aiohttp
import pytest

from image_updater.api.model import Author
from image_updater.embedded import EmbeddedRegistry
from image_updater.git.seed import create_repository, show_commit
from image_updater.pipeline import stage
from tests.parts.tools import binary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

STEP = 30.0
"""Seconds that a process may take for one step."""


class Process:
    """A command line that runs, with the lines of its stderr so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def until(self, pattern: str) -> re.Match[str]:
        """The next line of stderr that matches."""
        assert self.process.stderr is not None
        async with asyncio.timeout(STEP):
            while line := (await self.process.stderr.readline()).decode():
                self.lines.append(line)
                match = re.search(pattern, line)
                if match is not None:
                    return match
        raise AssertionError(f"no line matches {pattern!r}:\n{''.join(self.lines)}")


@asynccontextmanager
async def image_updater(folder: Path, *arguments: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "image_updater",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "TMPDIR": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "IMAGE_UPDATER_KUSTOMIZE": binary("kustomize"),
        },
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def changed(repository: Path, tag: str) -> str:
    """Wait for a commit whose diff sets `tag`; its message."""
    async with asyncio.timeout(STEP):
        while True:
            message, diff = show_commit(repository)
            if f"{tag}" in diff:
                return message
            await asyncio.sleep(0.05)  # another process writes: there is nothing to wait on


async def test_run_commits_watches_reports_and_ends(tmp_path: Path) -> None:
    async with EmbeddedRegistry() as registry:
        image = f"{registry.host}/{stage.REPOSITORY}"
        for tag in stage.FIRST_TAGS:
            registry.push(stage.REPOSITORY, tag)
        repository = tmp_path / "fleet.git"
        create_repository(
            repository,
            stage.files(image),
            author=Author(name="Ada", email="ada@example.test"),
            when=datetime.now(UTC),
            message="Start\n",
        )
        good = stage.OBJECTS.format(image=image, url=repository.as_uri()).replace("interval: 1h", "interval: 1s")
        objects = tmp_path / "objects.yaml"
        objects.write_text(good)
        arguments = ("run", "-f", str(objects), "--listen", "127.0.0.1:0", "--log-format", "json")
        async with image_updater(tmp_path, *arguments) as daemon, aiohttp.ClientSession() as http:
            address = (await daemon.until(r"listening on (\S+?)\"")).group(1)
            await changed(repository, "1.4.1")
            registry.push(stage.REPOSITORY, "1.5.0")
            message = await changed(repository, "1.5.0")
            assert "Image-Policy: default/web" in message

            objects.write_text(good.replace("^1.4", "not a range"))
            await daemon.until("the last good ones stay in use")
            async with http.get(f"http://{address}/healthz") as answer:
                assert (await answer.json())["status"] == "degraded"
            async with http.get(f"http://{address}/metrics") as answer:
                text = await answer.text()
            assert "image_updater_objects_good 0.0" in text
            assert re.search(r'image_updater_commits_total{branch="main",repository="[^"]+"} 2.0', text)
            assert 'image_updater_registry_requests_total{host="' in text

            daemon.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(STEP):
                _, rest = await daemon.process.communicate()
            assert daemon.process.returncode == 0
            lines = [json.loads(line) for line in [*daemon.lines, *rest.decode().splitlines()] if line.strip()]
            assert lines[-1]["message"] == "stopped"
            assert all({"time", "level", "message"} <= line.keys() for line in lines)


async def test_run_refuses_bad_objects_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "objects.yaml").write_text(stage.OBJECTS.format(image="acme/web", url="x").replace("^1.4", "no"))
    async with image_updater(tmp_path, "run", "-f", str(tmp_path / "objects.yaml"), "--listen", "") as daemon:
        async with asyncio.timeout(STEP):
            _, errors = await daemon.process.communicate()
    assert daemon.process.returncode == 2
    assert b"spec.policy.semver.range" in errors
    assert b"Traceback" not in errors


async def test_the_demo_shows_the_loop_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    async with image_updater(tmp_path / "t", "demo") as demo:
        async with asyncio.timeout(60):
            out, errors = await demo.process.communicate()
    text = out.decode()
    assert (demo.process.returncode, errors) == (0, b"")
    assert "1.4.1 → 1.5.0" in text
    assert "rendered" in text
    assert "+      newTag: '1.5.0'" in text
    assert "excluded by filterTags.exclude '-rc'" in text
    assert list((tmp_path / "t").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "t").mkdir()
    async with image_updater(tmp_path / "t", "demo", "--pace", "10") as demo:
        assert demo.process.stdout is not None
        assert demo.process.stderr is not None
        async with asyncio.timeout(STEP):
            line = b""
            while b"pushed" not in line:
                line = await demo.process.stdout.readline()
                assert line, f"it has ended: {(await demo.process.stderr.read()).decode()}"
            demo.process.send_signal(number)
            _, errors = await demo.process.communicate()
    assert demo.process.returncode == 130
    assert errors == b"interrupted\n"
    assert list((tmp_path / "t").iterdir()) == []
