"""A Git server that refuses, races, breaks or is not what it was: never a wrong commit, always a reason."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.integration.faults.harness import (
    DEPLOYMENT,
    GIT_PASSWORD,
    Home,
    Log,
    alone,
    automation,
    fleet,
    policy,
    repository,
    running,
    until,
)
from tests.parts import gitservers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.faults.harness import Fleet, Registry

USER = "bot"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gitservers.HttpServer]:
    with gitservers.http_server(tmp_path_factory.mktemp("plain")) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gitservers.HttpServer]:
    with gitservers.http_server(tmp_path_factory.mktemp("tls"), tls=True, user=USER, password=GIT_PASSWORD) as server:
        yield server


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gitservers.SshServer]:
    with gitservers.ssh_server(tmp_path_factory.mktemp("ssh")) as server:
        yield server


def secret(folder: Path, name: str, **values: bytes | str) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    for key, value in values.items():
        (folder / name / key.replace("__", ".")).write_bytes(value.encode() if isinstance(value, str) else value)


def served(stage: Fleet, url: str, *, more: str = "", timeout: str = "20s") -> None:
    stage.write(
        "".join(policy(name, stage.image(name)) for name in stage.names)
        + repository(url, more=more, timeout=timeout)
        + "".join(automation(name, more=alone(name)) for name in stage.names)
    )


def on(server: gitservers.HttpServer | gitservers.SshServer, registry: Registry, tmp_path: Path) -> Fleet:
    return fleet(registry, tmp_path, bare=server.root / tmp_path.name / "fleet.git")


def url_of(stage: Fleet, server: gitservers.HttpServer | gitservers.SshServer) -> str:
    return server.url(stage.bare.relative_to(server.root).as_posix())


# ------------------------------------------------------------------------------------------------- hooks

REFUSE_API = """#!/bin/sh
while read old new ref; do
  if git log --format=%B "$old..$new" | grep -q 'Automation: default/api'; then
    echo "policy 7: api is frozen until Monday" >&2
    exit 1
  fi
done
"""


@pytest.mark.parametrize("hook", ["pre-receive", "update"])
def test_a_hook_refuses_in_its_words_and_only_the_offender_fails(
    plain: gitservers.HttpServer, registry: Registry, tmp_path: Path, hook: str
) -> None:
    stage = on(plain, registry, tmp_path)
    served(stage, url_of(stage, plain))
    text = (
        REFUSE_API
        if hook == "pre-receive"
        else REFUSE_API.replace("while read old new ref; do", "old=$2 new=$3; for x in 1; do")
    )
    gitservers.set_hook(stage.bare, text, hook)
    result = stage.update("--push")
    assert result.code == 1
    assert stage.tags == {"web": "1.1.0", "api": "1.0.0"}
    assert "policy 7: api is frozen until Monday" in result.err
    assert result.states == {"web/deployment.yaml": "updated", "api/deployment.yaml": "refused"}
    assert "policy 7" in result.reason("api/deployment.yaml")
    assert [edit["file"] for edit in result.report["edits"]] == ["web/deployment.yaml"]
    (stage.bare / "hooks" / hook).unlink()
    assert stage.update("--push").code == 0
    assert stage.tags == {"web": "1.1.0", "api": "1.1.0"}
    assert len(stage.log) == 3
    stage.sound()


# ------------------------------------------------------------------------------------------------- races

RACE = """#!/bin/sh
cd "{bare}"
if [ ! -e raced ]; then
  touch raced
  unset GIT_QUARANTINE_PATH GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
  git update-ref refs/heads/main "{winner}"
fi
"""


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        ("README", ("", "a person's words\n")),
        ("web/deployment.yaml", ("  # kept as it is", "  # a person's words")),
        ("web/deployment.yaml", (":1.0.0", ":1.1.0")),
        ("web/deployment.yaml", (":1.0.0", ":9.0.0")),
    ],
    ids=["other-file", "same-line", "same-change", "newer-by-hand"],
)
def test_a_push_that_a_person_wins_is_planned_again_on_their_commit(
    plain: gitservers.HttpServer, registry: Registry, tmp_path: Path, file: str, edit: tuple[str, str]
) -> None:
    stage = on(plain, registry, tmp_path)
    served(stage, url_of(stage, plain))
    before = DEPLOYMENT.format(name="web", image=f"{stage.image('web')}:1.0.0") if file != "README" else ""
    text = before.replace(*edit) if before else edit[1]
    tip = stage.tip
    winner = gitservers.commit(stage.bare, {file: text}, message="Person")
    gitservers.git("update-ref", "refs/heads/main", tip, cwd=stage.bare)
    gitservers.set_hook(stage.bare, RACE.format(bare=stage.bare, winner=winner), "pre-receive")
    result = stage.update("--push")
    assert result.code == 0, result.err
    assert (stage.bare / "raced").exists()
    assert stage.tag("api") == "1.1.0"
    assert stage.tag("web") == ("9.0.0" if edit[1] == ":9.0.0" else "1.1.0")
    if edit[1] in ("a person's words\n", "  # a person's words"):
        assert "a person's words" in stage.file(file)
    mine = 1 if edit[1] in (":1.1.0", ":9.0.0") else 2
    assert len(stage.log) == 2 + mine
    assert stage.log[-2:] == ["Person", "Start"]
    stage.sound()


def test_twenty_processes_on_one_branch_all_land(
    plain: gitservers.HttpServer, registry: Registry, tmp_path: Path
) -> None:
    names = tuple(f"app{number:02d}" for number in range(20))
    stage = fleet(registry, tmp_path, names=names, bare=plain.root / tmp_path.name / "fleet.git")
    url = url_of(stage, plain)
    started = []
    for name in names:
        objects = tmp_path / f"{name}.yaml"
        objects.write_text(
            policy(name, stage.image(name)) + repository(url, timeout="60s") + automation(name, more=alone(name))
        )
        # Half of them share a cache, as jobs on one machine do.
        home = Home(tmp_path / ("shared" if int(name[3:]) % 2 else name))
        started.append((home, home.start("update", "-f", str(objects), "--push", "-o", "json")))
    results = [home.end(process) for home, process in started]
    assert [result.code for result in results] == [0] * 20, [result.err for result in results]
    assert set(stage.tags.values()) == {"1.1.0"}
    assert sorted(stage.log) == sorted(["Start", *(f"Update {stage.image(name)} to 1.1.0" for name in names)])
    for name in names:
        assert (
            stage.file(f"{name}/deployment.yaml")
            == DEPLOYMENT.format(name=name, image=f"{stage.image(name)}:1.1.0").strip()
        )
    stage.sound()


# ------------------------------------------------------------------------------------------------- connections

CUTS = [("cut_up", at) for at in (1, 400, 1000, 1700)] + [("cut_down", at) for at in (1, 500, 1000, 1500, 2000)]


@pytest.mark.parametrize(("way", "at"), CUTS, ids=[f"{way}-{at}" for way, at in CUTS])
def test_a_connection_cut_at_any_byte_never_makes_two_commits(
    plain: gitservers.HttpServer, registry: Registry, tmp_path: Path, way: str, at: int
) -> None:
    stage = on(plain, registry, tmp_path)
    with gitservers.TcpProxy(target=plain.port) as proxy:
        served(stage, url_of(stage, plain).replace(str(plain.port), str(proxy.port)))
        assert stage.update().code == 3, "the mirror is warm: what is cut is the push"
        gitservers.commit(stage.bare, {"README": "so that something is fetched too\n"}, message="Person")
        setattr(proxy, way, at)
        result = stage.update("--push")
        assert result.code in (0, 1)
        if result.code == 1:
            assert re.search(r"127\.0\.0\.1|mirror", result.err), result.err
            assert "updated" not in result.states.values()
        proxy.cut_up = proxy.cut_down = None
        assert stage.update("--push").code == 0
    assert set(stage.tags.values()) == {"1.1.0"}
    assert len(stage.log) == 4
    stage.sound()


def test_a_server_that_says_nothing_runs_into_the_time_limit(stage: Fleet) -> None:
    with gitservers.TcpProxy(target=1, stall=True) as proxy:
        served(stage, f"http://127.0.0.1:{proxy.port}/fleet.git", timeout="1s")
        result = stage.update("--push")
    assert result.code == 1
    assert "127.0.0.1" in result.err


# ------------------------------------------------------------------------------------------------- who we are


def test_wrong_credentials_are_told_without_showing_them(
    guarded: gitservers.HttpServer, registry: Registry, tmp_path: Path
) -> None:
    stage = on(guarded, registry, tmp_path)
    secrets = tmp_path / "secrets"
    assert guarded.ca is not None
    secret(secrets, "ca", ca__crt=guarded.ca)
    served(stage, url_of(stage, guarded), more="\n  secretRef: {name: git}\n  certSecretRef: {name: ca}")
    tip = stage.tip
    for mode in ("--push", "--dry-run"):
        secret(secrets, "git", username=USER, password=f"not-{GIT_PASSWORD}")
        result = stage.update(mode, "--secrets", str(secrets))
        assert (result.code, stage.tip) == (1, tip)
        assert "refuses our credentials" in result.err
        assert "Secret default/git" in result.err
    secret(secrets, "git", username=USER, password=GIT_PASSWORD)
    assert stage.update("--push", "--secrets", str(secrets)).code == 0
    assert set(stage.tags.values()) == {"1.1.0"}
    stage.sound()
    # No credential in what stays on the disk.
    for path in (tmp_path / "life").rglob("*"):
        if path.is_file():
            assert GIT_PASSWORD.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("ca", ["absent", "another", "junk"])
def test_a_server_whose_certificate_does_not_verify_gets_no_credentials(
    guarded: gitservers.HttpServer, registry: Registry, tmp_path: Path, ca: str
) -> None:
    stage = on(guarded, registry, tmp_path)
    secrets = tmp_path / "secrets"
    secret(secrets, "git", username=USER, password=GIT_PASSWORD)
    more = "\n  secretRef: {name: git}"
    if ca != "absent":
        secret(secrets, "ca", ca__crt=gitservers.authority("Another").pem if ca == "another" else b"junk")
        more += "\n  certSecretRef: {name: ca}"
    served(stage, url_of(stage, guarded), more=more)
    tip = stage.tip
    result = stage.update("--push", "--secrets", str(secrets))
    assert (result.code, stage.tip) == (2 if ca == "junk" else 1, tip), result.err
    assert re.search("certificate|ca.crt", result.err)


@pytest.mark.parametrize("known", ["wrong", "absent", "empty"])
def test_a_host_key_that_is_not_known_ends_it(
    ssh: gitservers.SshServer, registry: Registry, tmp_path: Path, known: str
) -> None:
    stage = on(ssh, registry, tmp_path)
    secrets = tmp_path / "secrets"
    _, other = gitservers.keypair(tmp_path / "other")
    lines = f"[127.0.0.1]:{ssh.port} {other}\n" if known == "wrong" else "" if known == "empty" else None
    secret(secrets, "git", identity=ssh.identity, **({"known_hosts": lines} if lines is not None else {}))
    served(stage, url_of(stage, ssh), more="\n  secretRef: {name: git}")
    tip = stage.tip
    result = stage.update("--push", "--secrets", str(secrets))
    assert result.code in (1, 2)
    assert stage.tip == tip
    assert re.search("host key|known_hosts", result.err)
    secret(secrets, "git", identity=ssh.identity, known_hosts=ssh.known_hosts())
    assert stage.update("--push", "--secrets", str(secrets)).code == 0
    stage.sound()


# ------------------------------------------------------------------------------------------------- what is there


def test_what_is_not_there_is_named(stage: Fleet, tmp_path: Path) -> None:
    served(stage, (tmp_path / "nowhere.git").as_uri())
    result = stage.update("--push")
    assert result.code == 1
    assert "nowhere.git" in result.err

    empty = gitservers.bare(tmp_path / "empty.git")
    served(stage, empty.as_uri())
    result = stage.update("--push")
    assert result.code == 1
    assert "is empty: it has no commit" in result.err
    assert not gitservers.git("for-each-ref", cwd=empty)
    result = stage.home.run("update", empty.as_uri(), "--push")
    assert result.code == 1
    assert "is empty: it has no commit" in result.err

    served(stage, stage.url)
    stage.objects.write_text(stage.objects.read_text().replace("{branch: main}", "{branch: gone}"))
    result = stage.update("--push")
    assert result.code == 1
    assert "has no branch or tag gone; it has main" in result.err
    assert len(stage.log) == 1


def test_the_default_branch_is_taken_where_none_is_named(stage: Fleet) -> None:
    gitservers.git("branch", "-m", "main", "trunk", cwd=stage.bare)
    stage.objects.write_text(stage.objects.read_text().replace("  ref: {branch: main}\n", ""))
    result = stage.update("--push")
    assert result.code == 0, result.err
    assert {each["branch"] for each in result.report["commits"]} == {"trunk"}
    assert len(gitservers.git("log", "--format=%s", "trunk", cwd=stage.bare).splitlines()) == 3


def test_a_repository_that_goes_away_and_comes_back(stage: Fleet, tmp_path: Path) -> None:
    assert stage.update().code == 3
    away = stage.bare.rename(tmp_path / "away.git")
    result = stage.update("--push")
    assert result.code == 1
    assert "fleet.git" in result.err
    away.rename(stage.bare)
    assert stage.update("--push").code == 0

    # Another history under the same name: what is there now counts.
    shutil.rmtree(stage.bare)
    gitservers.bare(
        stage.bare, files={"web/deployment.yaml": DEPLOYMENT.format(name="web", image=f"{stage.image('web')}:1.0.0")}
    )
    assert stage.update("--push").code == 0
    assert stage.log == [f"Update {stage.image('web')} to 1.1.0", "Start"]


@pytest.mark.parametrize("damage", ["pack", "objects", "head", "current", "garbage-lock", "file"])
def test_a_damaged_mirror_is_made_anew(stage: Fleet, damage: str) -> None:
    assert stage.update().code == 3
    (mirror,) = (stage.home.folder / "cache").rglob("repository-1")
    if damage == "pack":
        for path in mirror.rglob("*.pack"):
            path.chmod(0o600)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "objects":
        shutil.rmtree(mirror / "objects")
    elif damage == "head":
        (mirror / "HEAD").write_bytes(b"\0\0")
    elif damage == "current":
        (mirror.parent / "current").write_bytes(b"\xff\xfe")
    elif damage == "file":
        shutil.rmtree(mirror)
        mirror.write_text("not a folder")
    else:
        (mirror / "config.lock").write_text("")
        (mirror / "refs" / "mirror" / "heads").mkdir(parents=True, exist_ok=True)
        (mirror / "refs" / "mirror" / "heads" / "main.lock").write_text("")
    result = stage.update("--push")
    assert result.code == 0, result.err
    assert set(stage.tags.values()) == {"1.1.0"}
    stage.sound()


def test_a_cache_that_cannot_be_used_is_named(stage: Fleet, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, no folder")
    result = stage.update("--push", "--cache", str(tmp_path / "cache"))
    assert result.code == 1
    assert f"{tmp_path}/cache" in result.err
    assert len(stage.log) == 1


@pytest.mark.parametrize("limit", [0, 100, 4096, 20_000])
def test_a_full_disk_ends_it_with_a_reason_and_the_next_run_is_right(stage: Fleet, tmp_path: Path, limit: int) -> None:
    """No file may grow beyond `limit` bytes: the mirror, the store, the renders."""

    def full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    state = ["--state", str(tmp_path / "state.sqlite")]
    stage.home.limits = full
    result = stage.update("--push", *state)
    stage.home.limits = None
    assert result.code in (0, 1)
    stage.sound()
    result = stage.update("--push", *state)
    assert result.code == 0, result.err
    assert set(stage.tags.values()) == {"1.1.0"}
    assert len(stage.log) == 3
    stage.sound()


def test_a_daemon_outlives_an_outage_of_its_server(
    plain: gitservers.HttpServer, registry: Registry, tmp_path: Path
) -> None:
    stage = on(plain, registry, tmp_path)
    hidden = tmp_path / "hidden.git"
    stage.bare.rename(hidden)
    stage.write(
        "".join(policy(name, stage.image(name), interval="1s") for name in stage.names)
        + repository(url_of(stage, plain))
        + automation(interval="1s")
    )
    arguments = ["run", "-f", str(stage.objects), "--listen", "127.0.0.1:0", "--log-format", "json"]
    with running(stage.home.start(*arguments)) as process:
        log = Log(process)
        address = log.until(r'listening on (\S+?)"')[1]
        log.until("there is no repository at")
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            assert 'image_updater_updates_total{result="failed"}' in answer.read().decode()
        hidden.rename(stage.bare)
        until(lambda: set(stage.tags.values()) == {"1.1.0"}, seconds=60)
        process.send_signal(signal.SIGTERM)
        text = log.rest()
        assert process.wait(20) == 0
    assert "Traceback" not in text
    assert all(json.loads(line) for line in text.splitlines())
    assert len(stage.log) == 2
    stage.sound()
    assert os.path.isdir(stage.bare)
