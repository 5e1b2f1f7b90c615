"""What a build cannot do: reach a network, see the environment, run for ever, fill the memory."""

from __future__ import annotations

import os
import socketserver
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from image_updater.render import BuildFailed, Kustomize, LimitExceeded, Limits, Renderer, network_closed
from tests.integration.render.test_builds import DEPLOY, TREE, image
from tests.parts.trees import MemoryTree, kustomize_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Listener:
    """A loopback web server that counts connections and serves one Deployment."""

    def __init__(self) -> None:
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(DEPLOY.encode())

            def log_message(self, *_: object) -> None:
                """Quiet."""

        class Server(ThreadingHTTPServer):
            def process_request(self, request: object, client_address: object) -> None:
                outer.connections += 1
                socketserver.ThreadingMixIn.process_request(self, request, client_address)  # type: ignore[arg-type]

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/deploy.yaml"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})


@pytest.fixture
def listener() -> Iterator[Listener]:
    opened = Listener()
    opened.thread.start()
    yield opened
    opened.server.shutdown()
    opened.server.server_close()
    opened.thread.join()


def remote(url: str) -> MemoryTree:
    return MemoryTree({"kustomization.yaml": f"resources: ['{url}']\n"})


def test_this_system_can_take_the_network_away() -> None:
    assert network_closed() == sys.platform.startswith("linux")


async def test_a_remote_resource_sees_no_connection(renderer: Renderer, listener: Listener) -> None:
    """Locate refuses it before; were one overlooked, the child still has no socket."""
    tree = remote(listener.url)
    with pytest.raises(BuildFailed, match="permission denied"):
        await renderer.build(tree, kustomize_root(".", tree))
    assert listener.connections == 0


@pytest.mark.parametrize("url", ["https://github.com/acme/web//deploy?ref=v1", "git@github.com:acme/web.git"])
async def test_a_remote_base_finds_no_git(renderer: Renderer, url: str) -> None:
    tree = remote(url)
    with pytest.raises(BuildFailed, match=r"no 'git' program|executable file not found|git"):
        await renderer.build(tree, kustomize_root(".", tree))


async def test_only_what_is_allowed_gets_a_network(dialect: Kustomize, listener: Listener) -> None:
    tree = remote(listener.url)
    root = kustomize_root(".", tree, unbuildable="a remote resource", remotes=(listener.url,))
    with Renderer(dialect, allow_remote=True, environment=os.environ) as renderer:
        assert image(await renderer.build(tree, root)) == "nginx:1.0"
        assert image(await renderer.build(tree, root)) == "nginx:1.0"
    assert listener.connections == 2, "what is remote may move: it is not cached"


async def test_a_remote_git_base_is_cloned_where_that_is_allowed(dialect: Kustomize, tmp_path: Path) -> None:
    repository = tmp_path / "upstream"
    subprocess.run(["git", "init", "-q", "-b", "main", str(repository)], check=True)
    (repository / "deploy.yaml").write_text(DEPLOY)
    (repository / "kustomization.yaml").write_text("resources: [deploy.yaml]\n")
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run(["git", "-C", str(repository), "add", "."], check=True)
    subprocess.run(["git", "-C", str(repository), *who, "commit", "-qm", "x"], check=True)
    url = f"file://{repository}//?ref=main"
    tree = remote(url)
    root = kustomize_root(".", tree, unbuildable="a remote base", remotes=(url,))
    with Renderer(dialect, allow_remote=True, environment=os.environ) as renderer:
        assert image(await renderer.build(tree, root)) == "nginx:1.0"


async def test_the_child_sees_nothing_of_our_environment(
    program: Callable[[str], Kustomize], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_TOKEN", "secret")
    with Renderer(program("/usr/bin/env; echo FILES $HOME/*"), environment=os.environ) as renderer:
        seen = (await renderer.build(TREE, kustomize_root("prod", TREE))).decode()
    lines = dict(line.split("=", 1) for line in seen.splitlines() if "=" in line)
    assert "secret" not in seen
    assert lines["PATH"] == ""
    assert lines["HTTPS_PROXY"] == lines["http_proxy"] == "http://127.0.0.1:9"
    assert f"FILES {lines['HOME']}/*" in seen, "HOME is an empty folder"
    assert set(lines) - {"PWD", "SHLVL", "_", "OLDPWD"} <= _ALLOWED


_ALLOWED = {
    "PATH",
    "HOME",
    "TMPDIR",
    "LC_ALL",
    "GOMAXPROCS",
    "GOGC",
    "GOMEMLIMIT",
    "GOTRACEBACK",
    "KUBECONFIG",
    "KUBERC",
    "GIT_TERMINAL_PROMPT",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
}


@pytest.mark.parametrize("denied", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"])
async def test_no_kind_of_socket_can_be_made(program: Callable[[str], Kustomize], denied: str) -> None:
    attempt = f"import socket; socket.socket(socket.{denied}, socket.SOCK_DGRAM)"
    with (
        Renderer(program(f"exec {sys.executable} -I -c '{attempt}'")) as renderer,
        pytest.raises(BuildFailed, match="PermissionError"),
    ):
        await renderer.build(TREE, kustomize_root("prod", TREE))


@pytest.mark.parametrize(
    ("script", "limits", "words"),
    [
        ("/bin/sleep 60", Limits(seconds=0.3), "longer than 0.3 s"),
        ("/bin/sleep 60 & exec /bin/sleep 60", Limits(seconds=0.3), "longer than 0.3 s"),
        ("exec >&- 2>&-; exec /bin/sleep 60", Limits(seconds=0.3), "longer than 0.3 s"),
        ("trap '' TERM; while :; do echo x; done", Limits(output=100_000, seconds=20), "more than 100,000 bytes"),
        ("while :; do echo x >&2; done", Limits(seconds=0.5), "longer than 0.5 s"),
        ("while :; do :; done", Limits(cpu_seconds=1, seconds=20), "more than 1 s of CPU"),
    ],
    ids=[
        "a sleeper",
        "one with a child that keeps the pipe",
        "closed pipes",
        "endless output",
        "endless errors",
        "a loop",
    ],
)
async def test_a_bomb_is_stopped(program: Callable[[str], Kustomize], script: str, limits: Limits, words: str) -> None:
    started = time.monotonic()
    with Renderer(program(script), limits=limits) as renderer, pytest.raises(LimitExceeded, match=words) as caught:
        await renderer.build(TREE, kustomize_root("prod", TREE))
    assert caught.value.where.file == "prod/kustomization.yaml"
    assert time.monotonic() - started < 15


async def test_a_limit_is_no_property_of_the_root(program: Callable[[str], Kustomize], tmp_path: Path) -> None:
    """A slow moment must not brand a root: it is tried again."""
    flag = tmp_path / "second"
    script = f"if [ -e {flag} ]; then echo 'kind: Built'; else : >{flag}; exec /bin/sleep 60; fi"
    with Renderer(program(script), limits=Limits(seconds=0.5)) as renderer:
        with pytest.raises(LimitExceeded):
            await renderer.build(TREE, kustomize_root("prod", TREE))
        assert await renderer.build(TREE, kustomize_root("prod", TREE)) == b"kind: Built\n"


async def test_memory_is_bounded(program: Callable[[str], Kustomize]) -> None:
    attempt = "import time; time.sleep(0.1); x = bytearray(400 << 20)"
    script = f"exec {sys.executable} -I -c '{attempt}'"
    with (
        Renderer(program(script), limits=Limits(memory=200 << 20)) as renderer,
        pytest.raises((BuildFailed, LimitExceeded), match=r"MemoryError|memory"),
    ):
        await renderer.build(TREE, kustomize_root("prod", TREE))


async def test_a_real_build_fits_into_a_tenth_of_the_memory(dialect: Kustomize) -> None:
    with Renderer(dialect, limits=Limits(memory=400 << 20)) as renderer:
        assert image(await renderer.build(TREE, kustomize_root("prod", TREE))) == "nginx:1.2"


async def test_an_alias_bomb_is_refused_or_stopped(dialect: Kustomize) -> None:
    levels = "\n".join(f"  l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))
    bomb = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: bomb}}\ndata:\n  l0: &l0 [x]\n{levels}\n"
    tree = MemoryTree({"bomb.yaml": bomb, "kustomization.yaml": "resources: [bomb.yaml]\n"})
    with (
        Renderer(dialect, limits=Limits(memory=1 << 30, cpu_seconds=5, seconds=20)) as renderer,
        pytest.raises((BuildFailed, LimitExceeded)),
    ):
        await renderer.build(tree, kustomize_root(".", tree))


async def test_a_program_that_is_gone_is_an_error_with_its_path(program: Callable[[str], Kustomize]) -> None:
    kustomize = program("echo x")
    Path(kustomize.path).unlink()
    with Renderer(kustomize) as renderer, pytest.raises(Exception, match="cannot be started: No such file"):
        await renderer.build(TREE, kustomize_root("prod", TREE))


def test_an_ordinary_user_gets_the_same_isolation(tmp_path: Path) -> None:
    """As nobody, in a process of its own: no privilege is needed to give up the network."""
    script = (
        "import os, sys; os.getuid() or os.setresuid(65534, 65534, 65534)\n"
        "from image_updater.render.sandbox import network_closed; sys.exit(0 if network_closed() else 1)"
    )
    code = f"import sys; sys.path[:0] = {sys.path!r}; import image_updater.render.sandbox\n" + script
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0
