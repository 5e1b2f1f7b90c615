"""The mirror against nginx + git http-backend: reading, writing, refusals, certificates, proxies. The real git is the
oracle.
"""

from __future__ import annotations

import base64
import http.server
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from image_updater.api.model import Author
from image_updater.errors import SpecError
from image_updater.git.access import GitAccess
from image_updater.git.checkout import Checkout
from image_updater.git.errors import (
    BranchNotFound,
    CertificateUntrusted,
    GitAuthenticationFailed,
    GitUnavailable,
    MirrorDamaged,
    PermissionDenied,
    PushRaced,
    PushRefused,
    RepositoryNotFound,
)
from image_updater.git.mirror import Mirror
from tests.parts import gitservers as parts

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ME = Author(name="updater", email="updater@example.com")
ACCESS = GitAccess(identity="test", timeout=timedelta(seconds=20))
REFUSES = "#!/bin/sh\necho 'Tag 1.2 is frozen: ask the release team' >&2\n"
REFUSES += "echo 'see https://rules.example/frozen' >&2\nexit 1\n"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[parts.HttpServer]:
    with parts.http_server(tmp_path_factory.mktemp("http")) as server:
        yield server


@pytest.fixture(scope="module")
def basic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[parts.HttpServer]:
    with parts.http_server(tmp_path_factory.mktemp("tls"), tls=True, user="bot", password="p w:ü") as server:
        parts.bare(server.root / "org/app.git", files={"a.yaml": "a: 1\n"})
        yield server


async def change(mirror: Mirror, text: str = "a: 2\n", *, path: str = "a.yaml", access: GitAccess | None = None) -> str:
    tip = await mirror.fetch("main", access=access)
    commit = await mirror.commit(tip.commit, {path: text.encode()}, "Move a", ME, None, NOW)
    await mirror.push(commit, "main", expected=tip.commit, access=access)
    return commit


async def test_a_change_reaches_the_server_and_touches_nothing_else(plain: parts.HttpServer, tmp_path: Path) -> None:
    files = {"a.yaml": "a: 1\n", "deep/er/b.yaml": "b: 1\r\n", "c.sh": "#!/bin/sh\n"}
    bare = parts.bare(plain.root / "org/app.git", files=files)
    with Mirror.open(tmp_path / "m", plain.url("org/app.git"), ACCESS) as mirror:
        tip = await mirror.fetch("main")
        assert tip.tree.read("deep/er/b.yaml") == b"b: 1\r\n"
        assert set(tip.tree.files()) == set(files)
        commit = await change(mirror)
    assert parts.git("rev-parse", "main", cwd=bare) == commit
    assert parts.git("diff", "--name-status", "main~1", "main", cwd=bare) == "M\ta.yaml"
    assert parts.git("log", "-1", "--format=%an <%ae> %cn %aI", "main", cwd=bare) == (
        "updater <updater@example.com> updater 2026-01-02T03:04:05+00:00"
    )
    parts.git("fsck", "--strict", cwd=bare)


async def test_an_equal_branch_costs_one_request(plain: parts.HttpServer, tmp_path: Path) -> None:
    parts.bare(plain.root / "org/equal.git", files={"a.yaml": "1"})
    with Mirror.open(tmp_path / "m", plain.url("org/equal.git"), ACCESS) as mirror:
        first = await mirror.fetch("main")
        before = len(plain.requests())
        assert (await mirror.fetch("main")).commit == first.commit
        assert len(plain.requests()) - before == 1


async def test_history_starts_at_fifty_keeps_what_it_has_and_deepens(plain: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(plain.root / "org/long.git", files={"a.yaml": "0"})
    parts.git("fast-import", "--quiet", "--force", cwd=bare, stdin=_stream(80))
    with Mirror.open(tmp_path / "m", plain.url("org/long.git"), ACCESS) as mirror:
        tip = await mirror.fetch("main")
        found = mirror.history(tip.commit)
        assert len(found) == 50
        assert found[-1].boundary
        assert not found[0].boundary
        parts.commit(bare, {"a.yaml": "new"})
        tip = await mirror.fetch("main")
        assert len(mirror.history(tip.commit)) == 51
        assert len(mirror.history(tip.commit, stop=found[0].id)) == 1
        await change(mirror, "pushed from a shallow mirror")
        tip = await mirror.fetch("main", depth=70)
        assert len(mirror.history(tip.commit)) == 70
        parts.git("branch", "other", "main~3", cwd=bare)
        parts.commit(bare, {"b.yaml": "b"}, branch="other")
        await mirror.fetch("other")
        assert len(mirror.history(tip.commit)) == 70
        parts.commit(bare, {"a.yaml": "newer"})
        tip = await mirror.fetch("main", depth=5)
        assert len(mirror.history(tip.commit)) == 71
        tip = await mirror.fetch("main", depth=0)
        assert len(mirror.history(tip.commit)) == 83
        assert not mirror.history(tip.commit)[-1].boundary


def _stream(count: int) -> bytes:
    text = b""
    for n in range(count):
        text += b"commit refs/heads/main\ncommitter p <p@e> %d +0000\ndata 2\nx\n" % (1700000000 + n)
        text += b"M 644 inline a.yaml\ndata %d\n%d\n\n" % (len(str(n)), n)
    return text


async def test_what_is_not_there_is_named(plain: parts.HttpServer, tmp_path: Path) -> None:
    parts.bare(plain.root / "org/named.git", files={"a": "1"})
    parts.bare(plain.root / "org/empty.git")
    with (
        Mirror.open(tmp_path / "1", plain.url("org/named.git"), ACCESS) as mirror,
        pytest.raises(BranchNotFound, match="it has main"),
    ):
        await mirror.fetch("prod")
    with (
        Mirror.open(tmp_path / "2", plain.url("org/empty.git"), ACCESS) as mirror,
        pytest.raises(BranchNotFound, match="is empty"),
    ):
        await mirror.fetch("main")
    with Mirror.open(tmp_path / "3", plain.url("org/none.git"), ACCESS) as mirror, pytest.raises(RepositoryNotFound):
        await mirror.fetch("main")
    with Mirror.open(tmp_path / "4", "http://127.0.0.1:1/x/y", ACCESS) as mirror, pytest.raises(GitUnavailable):
        await mirror.fetch("main")


@pytest.mark.parametrize("name", ["", "a b", "x*", "main:refs/heads/other", "a..b", "-", "a\nb", "x.lock"])
async def test_what_is_no_branch_name_is_refused_before_any_request(tmp_path: Path, name: str) -> None:
    with Mirror.open(tmp_path / "m", "http://127.0.0.1:1/x/y", ACCESS) as mirror:
        if name == "-":
            with pytest.raises(GitUnavailable):
                await mirror.fetch(name)
            return
        with pytest.raises(SpecError):
            await mirror.fetch(name)
        with pytest.raises(SpecError):
            await mirror.push("1" * 40, name, expected=None)


async def test_a_new_branch_is_made_only_where_none_is(plain: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(plain.root / "org/new.git", files={"a.yaml": "1"})
    with Mirror.open(tmp_path / "m", plain.url("org/new.git"), ACCESS) as mirror:
        tip = await mirror.fetch("main")
        one = await mirror.commit(tip.commit, {"a.yaml": b"2"}, "one", ME, None, NOW)
        await mirror.push(one, "updates/web", expected=None)
        assert parts.git("rev-parse", "updates/web", cwd=bare) == one
        two = await mirror.commit(tip.commit, {"a.yaml": b"3"}, "two", ME, None, NOW)
        with pytest.raises(PushRaced, match="exists already"):
            await mirror.push(two, "updates/web", expected=None)
        await mirror.push(two, "updates/web", expected=one, force=True)
        assert parts.git("rev-parse", "updates/web", cwd=bare) == two


async def test_a_lost_race_is_told_and_leaves_the_winner(plain: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(plain.root / "org/race.git", files={"a.yaml": "1"})
    with Mirror.open(tmp_path / "m", plain.url("org/race.git"), ACCESS) as mirror:
        tip = await mirror.fetch("main")
        commit = await mirror.commit(tip.commit, {"a.yaml": b"2"}, "ours", ME, None, NOW)
        winner = parts.commit(bare, {"a.yaml": "person"})
        with pytest.raises(PushRaced, match="moved from"):
            await mirror.push(commit, "main", expected=tip.commit)
        with pytest.raises(PushRaced, match="does not follow"):
            await mirror.push(commit, "main", expected=winner)
        assert parts.git("rev-parse", "main", cwd=bare) == winner


@pytest.mark.parametrize("hook", ["pre-receive", "update"])
async def test_a_hook_refuses_in_its_own_words(plain: parts.HttpServer, tmp_path: Path, hook: str) -> None:
    bare = parts.bare(plain.root / f"org/{hook}.git", files={"a.yaml": "1"})
    parts.set_hook(bare, REFUSES, hook)
    before = parts.git("rev-parse", "main", cwd=bare)
    with (
        Mirror.open(tmp_path / "m", plain.url(f"org/{hook}.git"), ACCESS) as mirror,
        pytest.raises(PushRefused) as caught,
    ):
        await change(mirror)
    assert "Tag 1.2 is frozen: ask the release team" in caught.value.words
    assert "https://rules.example/frozen" in caught.value.words
    assert parts.git("rev-parse", "main", cwd=bare) == before


async def test_receive_pack_switched_off_is_a_matter_of_rights(plain: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(plain.root / "org/read.git", files={"a.yaml": "1"})
    parts.git("config", "http.receivepack", "false", cwd=bare)
    with Mirror.open(tmp_path / "m", plain.url("org/read.git"), ACCESS) as mirror, pytest.raises(PermissionDenied):
        await change(mirror)


async def test_basic_auth_over_tls_with_the_repositorys_own_ca(basic: parts.HttpServer, tmp_path: Path) -> None:
    good = replace(ACCESS, username="bot", password="p w:ü", ca=basic.ca)
    with Mirror.open(tmp_path / "m", basic.url("org/app.git"), good) as mirror:
        await change(mirror, "a: 3\n")
    for place in (tmp_path / "m").rglob("*"):
        assert not place.is_file() or b"p w:" not in place.read_bytes()


@pytest.mark.parametrize(
    ("access", "error"),
    [
        (replace(ACCESS, username="bot", password="wrong"), GitAuthenticationFailed),
        (ACCESS, GitAuthenticationFailed),
        (replace(ACCESS, bearer="nope"), GitAuthenticationFailed),
    ],
    ids=["wrong password", "no credentials", "bearer where basic is wanted"],
)
async def test_wrong_credentials_end_at_once(
    basic: parts.HttpServer, tmp_path: Path, access: GitAccess, error: type[Exception]
) -> None:
    before = len(basic.requests())
    with (
        Mirror.open(tmp_path / "m", basic.url("org/app.git"), replace(access, ca=basic.ca)) as mirror,
        pytest.raises(error) as caught,
    ):
        await mirror.fetch("main")
    assert "wrong" not in str(caught.value)
    assert len(basic.requests()) - before <= 3


@pytest.mark.parametrize("ca", [None, parts.authority("Another CA").pem], ids=["none", "another"])
async def test_a_certificate_that_leads_elsewhere_is_refused(
    basic: parts.HttpServer, tmp_path: Path, ca: bytes | None
) -> None:
    access = replace(ACCESS, username="bot", password="p w:ü", ca=ca)
    with Mirror.open(tmp_path / "m", basic.url("org/app.git"), access) as mirror, pytest.raises(CertificateUntrusted):
        await mirror.fetch("main")


async def test_a_ca_of_one_repository_is_not_trusted_by_another(basic: parts.HttpServer, tmp_path: Path) -> None:
    good = replace(ACCESS, username="bot", password="p w:ü", ca=basic.ca)
    with Mirror.open(tmp_path / "1", basic.url("org/app.git"), good) as mirror:
        await mirror.fetch("main")
    with (
        Mirror.open(tmp_path / "2", basic.url("org/app.git"), replace(good, ca=None)) as mirror,
        pytest.raises(CertificateUntrusted),
    ):
        await mirror.fetch("main")


async def test_the_certificate_must_name_the_host(basic: parts.HttpServer, tmp_path: Path) -> None:
    access = replace(ACCESS, username="bot", password="p w:ü", ca=basic.ca)
    url = basic.url("org/app.git").replace("127.0.0.1", "localhost")
    with Mirror.open(tmp_path / "m", url, access) as mirror, pytest.raises(CertificateUntrusted):
        await mirror.fetch("main")


async def test_an_intermediate_that_the_server_sends_is_followed(tmp_path: Path) -> None:
    with parts.http_server(tmp_path / "s", tls=True, intermediate=True) as server:
        parts.bare(server.root / "o/r.git", files={"a.yaml": "1"})
        with Mirror.open(tmp_path / "m", server.url("o/r.git"), replace(ACCESS, ca=server.ca)) as mirror:
            await change(mirror)


async def test_a_bearer_token_is_sent_on_reads_and_pushes(tmp_path: Path) -> None:
    with parts.http_server(tmp_path / "s", bearer="t0ken") as server:
        parts.bare(server.root / "o/r.git", files={"a.yaml": "1"})
        with Mirror.open(tmp_path / "m", server.url("o/r.git"), replace(ACCESS, bearer="t0ken")) as mirror:
            await change(mirror)
        with (
            Mirror.open(tmp_path / "n", server.url("o/r.git"), replace(ACCESS, bearer="other")) as mirror,
            pytest.raises(GitAuthenticationFailed) as caught,
        ):
            await mirror.fetch("main")
        assert "other" not in str(caught.value)


async def test_a_proxy_is_used_with_its_own_credentials(basic: parts.HttpServer, tmp_path: Path) -> None:
    access = replace(ACCESS, username="bot", password="p w:ü", ca=basic.ca)
    with parts.ConnectProxy(user="me", password="s3cret") as proxy:
        good = replace(access, proxy=f"http://me:s3cret@127.0.0.1:{proxy.port}")
        with Mirror.open(tmp_path / "m", basic.url("org/app.git"), good) as mirror:
            await change(mirror, "via: proxy\n")
        assert set(proxy.seen) == {f"127.0.0.1:{basic.port}"}
        bad = replace(access, proxy=f"http://me:wr0ng@127.0.0.1:{proxy.port}")
        with (
            Mirror.open(tmp_path / "n", basic.url("org/app.git"), bad) as mirror,
            pytest.raises((GitAuthenticationFailed, GitUnavailable)) as caught,
        ):
            await mirror.fetch("main")
        assert "wr0ng" not in str(caught.value)


async def test_a_server_that_says_nothing_runs_into_the_time_limit(tmp_path: Path) -> None:
    with parts.TcpProxy(target=1, stall=True) as proxy:
        access = replace(ACCESS, timeout=timedelta(seconds=0.5))
        with (
            Mirror.open(tmp_path / "m", f"http://127.0.0.1:{proxy.port}/o/r", access) as mirror,
            pytest.raises(GitUnavailable),
        ):
            await mirror.fetch("main")


async def test_a_push_cut_before_the_server_has_it_leaves_the_branch(plain: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(plain.root / "org/cut.git", files={"a.yaml": "1"})
    before = parts.git("rev-parse", "main", cwd=bare)
    with parts.TcpProxy(target=plain.port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/org/cut.git"
        with Mirror.open(tmp_path / "m", url, ACCESS) as mirror:
            tip = await mirror.fetch("main")
            blob = os.urandom(400_000)
            commit = await mirror.commit(tip.commit, {"a.bin": blob}, "big", ME, None, NOW)
            proxy.cut_up, proxy.cuts = 60_000, 1
            with pytest.raises(GitUnavailable):
                await mirror.push(commit, "main", expected=tip.commit)
            assert parts.git("rev-parse", "main", cwd=bare) == before
            proxy.cut_up = None
            await mirror.push(commit, "main", expected=tip.commit)
    assert parts.git("rev-list", "--count", "main", cwd=bare) == "2"


async def test_a_push_whose_answer_was_lost_is_found_on_the_server(plain: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(plain.root / "org/lost.git", files={"a.yaml": "1"})
    with (
        parts.TcpProxy(target=plain.port) as proxy,
        Mirror.open(tmp_path / "m", f"http://127.0.0.1:{proxy.port}/org/lost.git", ACCESS) as mirror,
    ):
        tip = await mirror.fetch("main")
        commit = await mirror.commit(tip.commit, {"a.yaml": b"2"}, "ours", ME, None, NOW)
        # More than the advertisement (about 530 bytes), less than that and the answer: the server is done
        # when the cut comes.
        proxy.cut_down, proxy.cuts = 700, 1
        await mirror.push(commit, "main", expected=tip.commit)
        assert proxy.cuts == 0
    assert parts.git("rev-list", "main", cwd=bare).splitlines() == [commit, tip.commit]


async def test_a_hook_that_speaks_latin_1_or_in_half_characters_is_understood(
    plain: parts.HttpServer, tmp_path: Path
) -> None:
    hook = "#!/bin/sh\nprintf 'Gr\\374\\337e: nein\\n' >&2\n"
    hook += "printf '\\303' >&2; sleep 0.1; printf '\\244ndern verboten\\n' >&2\nexit 1\n"
    parts.bare(plain.root / "org/latin.git", files={"a.yaml": "1"}, hook=hook)
    with (
        Mirror.open(tmp_path / "m", plain.url("org/latin.git"), ACCESS) as mirror,
        pytest.raises(PushRefused) as caught,
    ):
        await change(mirror)
    assert "nein" in caught.value.words
    assert "ändern verboten" in caught.value.words


async def test_a_damaged_mirror_is_made_anew(plain: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(plain.root / "org/heal.git", files={"a.yaml": "1", "d/b.yaml": "2"})
    url = plain.url("org/heal.git")
    with Mirror.open(tmp_path / "m", url, ACCESS) as mirror:
        await mirror.fetch("main")
    for file in (tmp_path / "m").rglob("*"):
        if file.is_file() and "objects" in file.parts:
            file.chmod(0o644)
            file.write_bytes(b"garbage")
    with Mirror.open(tmp_path / "m", url, ACCESS) as mirror:
        tip = await mirror.fetch("main")
        assert tip.tree.read("d/b.yaml") == b"2"
        parts.commit(bare, {"a.yaml": "3"})
        for file in (tmp_path / "m").rglob("*.pack"):
            file.chmod(0o644)
            file.unlink()
        tip = await mirror.fetch("main")
        assert tip.tree.read("a.yaml") == b"3"
        await change(mirror, "4")
    (tmp_path / "m" / "current").write_text("../../etc\nx\n")
    with Mirror.open(tmp_path / "m", url, ACCESS) as mirror:
        assert (await mirror.fetch("main")).tree.read("a.yaml") == b"4"


async def test_a_mirror_with_many_packs_is_recycled(plain: parts.HttpServer, tmp_path: Path) -> None:
    bare = parts.bare(plain.root / "org/packs.git", files={"a.yaml": "0"})
    with Mirror.open(tmp_path / "m", plain.url("org/packs.git"), ACCESS) as mirror:
        old = (await mirror.fetch("main")).tree
        for n in range(53):
            parts.commit(bare, {"a.yaml": str(n + 1)})
            await mirror.fetch("main")
        assert len(list((tmp_path / "m").glob("repository-*/objects/pack/*.pack"))) < 60
        assert (tmp_path / "m" / "current").read_text().startswith("repository-2")
        assert old.read("a.yaml") == b"0"


async def test_two_processes_use_two_folders(plain: parts.HttpServer, tmp_path: Path) -> None:
    parts.bare(plain.root / "org/two.git", files={"a.yaml": "0"})
    url = plain.url("org/two.git")
    with Mirror.open(tmp_path / "m", url, ACCESS) as one, Mirror.open(tmp_path / "m", url, ACCESS) as two:
        assert one.folder != two.folder
        assert (await one.fetch("main")).commit == (await two.fetch("main")).commit
    with Mirror.open(tmp_path / "m", url, ACCESS) as again:
        assert again.folder == tmp_path / "m"


async def test_file_urls_and_paths_work_too(tmp_path: Path) -> None:
    bare = parts.bare(tmp_path / "r.git", files={"a.yaml": "0"})
    for n, url in enumerate([str(bare), f"file://{bare}"]):
        with Mirror.open(tmp_path / f"m{n}", url, ACCESS) as mirror:
            commit = await change(mirror, f"x: {n}\n")
        assert parts.git("rev-parse", "main", cwd=bare) == commit


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, str, list[tuple[str, str | None]]]]:
    """Two servers: the first redirects to the other host or to another path of its own; `seen` lists host and
    Authorization.
    """
    seen: list[tuple[str, str | None]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = self.headers["Host"].partition(":")[0]
            seen.append((f"{host}{self.path}", self.headers.get("Authorization")))
            if self.path.startswith("/away"):
                self.send_response(302)
                self.send_header("Location", f"http://localhost:{port}/stolen" + self.path[5:])
            elif self.path.startswith("/old"):
                self.send_response(301)
                self.send_header("Location", "/new" + self.path[4:])
            else:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{port}/away/r", f"http://127.0.0.1:{port}/old/r", seen
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "access", [replace(ACCESS, username="u", password="p"), replace(ACCESS, bearer="t")], ids=["basic", "bearer"]
)
async def test_a_redirect_never_carries_credentials_to_another_host(
    elsewhere: tuple[str, str, list[tuple[str, str | None]]], tmp_path: Path, access: GitAccess
) -> None:
    away, moved, seen = elsewhere
    with Mirror.open(tmp_path / "m", away, access) as mirror:
        with pytest.raises(RepositoryNotFound, match="another host"):
            await mirror.fetch("main")
        parts.bare(tmp_path / "own.git", files={"a": "1"})
        with Mirror.open(tmp_path / "own", str(tmp_path / "own.git"), access) as own:
            tip = await own.fetch("main")
        with pytest.raises(RepositoryNotFound, match="another host"):
            await mirror.push(tip.commit, "main", expected=None)
    parts.git("clone", "-q", tmp_path / "own.git", tmp_path / "work")
    parts.git("remote", "set-url", "origin", away, cwd=tmp_path / "work")
    checkout = Checkout.open(tmp_path / "work")
    assert checkout is not None
    with pytest.raises(RepositoryNotFound, match="another host"):
        await checkout.push(access)
    assert not [where for where, _ in seen if where.startswith("localhost")]
    with Mirror.open(tmp_path / "n", moved, access) as mirror, pytest.raises(GitAuthenticationFailed):
        await mirror.fetch("main")
    assert any(where.startswith("127.0.0.1/new") for where, _ in seen)


async def test_a_blob_that_rots_is_reported_and_fetched_again(plain: parts.HttpServer, tmp_path: Path) -> None:
    parts.bare(plain.root / "org/rot.git", files={"a.yaml": "1", "b.yaml": "2"})
    with Mirror.open(tmp_path / "m", plain.url("org/rot.git"), ACCESS) as mirror:
        tip = await mirror.fetch("main")
        commit = await mirror.commit(tip.commit, {"a.yaml": b"new"}, "x", ME, None, NOW)
        oid = mirror.tree(commit).files()["a.yaml"].oid
        loose = next((tmp_path / "m").glob(f"repository-*/objects/{oid[:2]}/{oid[2:]}"))
        loose.chmod(0o644)
        loose.write_bytes(b"rot")
        with pytest.raises(MirrorDamaged):
            mirror.tree(commit).read("a.yaml")
        tip = await mirror.fetch("main")
        assert tip.tree.read("a.yaml") == b"1"
        assert (tmp_path / "m" / "current").read_text().startswith("repository-2")


async def test_a_checkout_in_ci_pushes_with_the_header_it_was_left(tmp_path: Path) -> None:
    with parts.http_server(tmp_path / "s", user="x-access-token", password="t0ken") as server:
        bare = parts.bare(server.root / "o/r.git", files={"a.yaml": "1"})
        parts.git("clone", "-q", bare, tmp_path / "work")
        parts.git("remote", "set-url", "origin", server.url("o/r.git"), cwd=tmp_path / "work")
        checkout = Checkout.open(tmp_path / "work")
        assert checkout is not None
        made = checkout.commit({"a.yaml": b"2"}, "Two", ME, when=NOW)
        with pytest.raises(GitAuthenticationFailed, match="GIT_USERNAME"):
            await checkout.push(ACCESS)
        login = base64.b64encode(b"x-access-token:t0ken").decode()
        key = f"http.{server.scheme}://{server.host}:{server.port}/.extraheader"
        parts.git("config", key, f"AUTHORIZATION: basic {login}", cwd=tmp_path / "work")
        await checkout.push(ACCESS)
        assert parts.git("rev-parse", "main", cwd=bare) == made
