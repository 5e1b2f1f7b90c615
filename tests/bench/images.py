"""1,000 images × 100 tags with the real daemon (`image-updater run`) in a process of its own, interval 1 minute.

Created → all decided counts from the start of the process. Steady state is one minute, from the second round of polls:
CPU and memory of the process from /proc, requests from the registry's log. Then it is stopped and started again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import repositories, servers
from tests.bench.rows import Row
from tests.parts import gitservers, registries, tools

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES, TAGS = 1000, 100
MINUTE = 60.0
_MIB = 1024.0


def bench() -> list[Row]:
    with (
        servers.folder() as place,
        gitservers.http_server(place / "git") as git,
        registries.running("debian", place / "registry") as registry,
    ):
        names = [f"i-{n:04d}" for n in range(IMAGES)]
        tags = [f"1.{n // 10}.{n % 10}" for n in range(TAGS)]
        servers.tag_lists(registry, {f"acme/{name}": tags for name in names})
        made = repositories.markers(registry.host, apps=10, files=5)
        servers.bare(git.root / "fleet.git", made.files)
        objects = place / "objects.yaml"
        objects.write_text(
            repositories.documents(
                *(repositories.policy(name, f"{registry.host}/acme/{name}", interval="1m") for name in names),
                repositories.repository(git.url("fleet.git")),
                repositories.automation("fleet"),
            )
        )
        log = registry.root.parent / "log"
        servers.quiet(10)
        with _daemon(place, objects, rate=1000) as first:
            decided = first.until_decided(120)
            started = first.usage().cpu
            # All were asked at once: after an interval and its jitter they are spread, and a minute holds all of them.
            time.sleep(MINUTE * 1.1)
            before, asked = first.usage(), _requests(log)
            time.sleep(MINUTE)
            after = first.usage()
            asked = _requests(log) - asked
            peak = after.peak
        listed = _requests(log)
        with _daemon(place, objects, rate=1000) as again:
            known = again.until_decided(120)
            restarted = again.usage().cpu
            at_once = _requests(log) - listed
            facts = again.metric("image_updater_facts_fetched_total")
            time.sleep(2)
    work = f"{IMAGES:,} images × {TAGS} tags"
    return [
        Row(work=f"{work}: created → all decided", value=decided, unit="s", budget=8, flux="27.7 s",
            note=f"one run; from the start of the process; CPU {started:.1f} s"),
        Row(work=f"{work}: steady, CPU a minute", value=after.cpu - before.cpu, unit="CPU-s", budget=1.0,
            flux="5.2 CPU-s", note=f"one minute of one run, interval 1 min; {asked} scans fell into it"),
        Row(work=f"{work}: steady, registry requests a minute", value=asked, unit="", budget=1000 * 1.1, flux="2,000",
            note="one a policy and interval; the interval has ±10 % jitter"),
        Row(work=f"{work}: steady, peak RSS", value=peak / _MIB, unit="MiB", budget=150, flux="187 MiB (85)",
            note=f"now {after.rss / _MIB:.0f} MiB; the file daemon, which has no Kubernetes client"),
        Row(work=f"{work}: restart → all answers known", value=known, unit="s", budget=3, flux="21 s",
            note=f"one run; from the start of the process; CPU {restarted:.1f} s"),
        Row(work=f"{work}: restart, facts fetched again", value=facts, unit="", budget=0, exact=True, flux="2,000"),
        Row(work=f"{work}: restart, registry requests until known", value=at_once, unit="", flux="2,000",
            note="lists that were due anyway (older than their interval)"),
    ]  # fmt: skip


def _requests(log: Path) -> int:
    return sum('"GET /v2/acme/' in line or '"HEAD /v2/acme/' in line for line in log.read_text().splitlines())


@dataclass(frozen=True)
class _Usage:
    cpu: float
    rss: int
    peak: int


@dataclass
class _Daemon:
    process: subprocess.Popen[bytes]
    port: int
    started: float

    def until_decided(self, seconds: float) -> float:
        """Seconds from the start until every policy has an answer."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            assert self.process.poll() is None, "the daemon ended"
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                ready = self._get("/readyz")[0] == 200
                if ready and self.metric('image_updater_policies{state="chosen"}') == IMAGES:
                    return time.monotonic() - self.started
            time.sleep(0.1)
        raise TimeoutError(f"not all policies had an answer after {seconds} s")

    def _get(self, path: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def metric(self, name: str) -> float:
        text = self._get("/metrics")[1].decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        assert found is not None, f"{name} is no metric: {json.dumps(text[:2000])}"
        return float(found[1])

    def usage(self) -> _Usage:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.findall(r"^(VmRSS|VmHWM):\s+(\d+)", status, re.MULTILINE)
        sizes = {key: int(value) for key, value in found}
        return _Usage(
            cpu=(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), rss=sizes["VmRSS"], peak=sizes["VmHWM"]
        )


@contextlib.contextmanager
def _daemon(place: Path, objects: Path, *, rate: int) -> Iterator[_Daemon]:
    port = tools.free_port()
    command = [sys.executable, "-m", "image_updater", "run", "-f", str(objects), "--state", str(place / "run.sqlite")]
    command += ["--cache", str(place / "cache"), "--listen", f"127.0.0.1:{port}", "--registry-rate", str(rate)]
    command += ["--log-level", "warning"]
    environment = {**servers.environment(place), "PYTHONPATH": str(Path(__file__).parents[2])}
    started = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=sys.stderr)
    try:
        yield _Daemon(process, port, started)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
