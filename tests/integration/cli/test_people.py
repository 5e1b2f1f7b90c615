"""What people ask of a `run` through its state file, what its history says, and the past replayed."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from image_updater.api.model import Author
from image_updater.api.wishes import HoldWish
from image_updater.cli.app import run
from image_updater.embedded import EmbeddedRegistry
from image_updater.git.seed import create_repository, show_commit
from image_updater.pipeline import stage
from image_updater.store import Stage, Store, StoredTags
from tests.integration.cli.test_processes import STEP, changed, image_updater

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DIGEST = f"sha256:{'a' * 64}"

Cli = "Callable[..., tuple[int, str, str]]"


@pytest.fixture
def cli(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = run([str(each) for each in arguments])
        sys.stdout.flush()
        captured = capfdbinary.readouterr()
        return code, captured.out.decode(), captured.err.decode()

    return call


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Of a `run` that knows two policies."""
    file = tmp_path / "state.sqlite"
    with Store.open(file) as store:
        store.save_decision("apps/web", "1.3.0", None, "the newest version in ^1", NOW)
        store.save_decision("apps/api", None, None, "nothing fits", NOW)
    return file


# ------------------------------------------------------------------------------------------- through the file


def test_a_hold_and_its_end(state: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    code, said, _ = cli("hold", "web", "--state", state, "--reason", "the queue is full", "--until", "2h")
    assert code == 0
    assert said.startswith("apps/web is held until 2")
    assert "From now on `run` writes nothing for it. 1.3.0 stays chosen and is not written." in said
    with Store.open(state) as store:
        hold = store.wishes("apps/web").hold
        assert isinstance(hold, HoldWish)
        assert hold.until is not None
        assert hold.at is not None
        assert hold.until - hold.at == 2 * HOUR
        assert "@" in hold.by
    code, said, _ = cli("resume", "web", "--state", state, "--by", "ada")
    assert (code, "it was held by" in said) == (0, True)
    assert "writes what it chooses" in said
    with Store.open(state) as store:
        assert store.wishes("apps/web").hold is None
        assert store.wishes("apps/web").resumed_by == "ada"


def test_the_answer_as_json_has_the_wishes(state: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    cli("approve", "web", f"1.4.0@{DIGEST}", "--state", state, "--by", "ada")
    cli("deny", "web", "1.2.0", "--state", state, "--by", "ada", "--reason", "slow")
    cli("hold", "web", "--state", state, "--by", "ada", "--until", "2100-01-01T00:00:00Z")
    _, said, _ = cli("rollback", "web", "--state", state, "--to", "1.1.0", "--by", "bob", "-o", "json")
    answer = json.loads(said)
    for part in (*answer["wishes"]["approvals"], *answer["wishes"]["denied"], answer["wishes"]["hold"]):
        assert part.pop("at").endswith("Z")
    assert answer["wishes"]["rollback"].pop("at")
    assert answer["policy"] == "apps/web"
    assert (answer["asked"], answer["by"]) == ("rollback", "bob")
    assert answer["wishes"] == {
        "hold": {"reason": "no reason given", "by": "ada", "until": "2100-01-01T00:00:00Z"},
        "resumed": None,
        "approvals": [{"tag": "1.4.0", "digest": DIGEST, "by": "ada"}],
        "denied": [{"what": "1.2.0", "by": "ada", "reason": "slow"}],
        "rollback": {"to": "1.1.0", "by": "bob", "reason": None},
    }
    assert "goes back from 1.3.0 to 1.1.0" in answer["message"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["hold", "wbe"], 2, ("there is no policy wbe", "did you mean 'web'?")),
        (["hold", "other/web"], 2, ("there is no policy other/web", "did you mean 'apps/web'?")),
        (["hold", "web", "-n", "other"], 2, ("there is no policy other/web", "did you mean 'apps/web'?")),
        (["hold", "web", "--until", "soon"], 2, ("is neither a time", "8h")),
        (["hold", "web", "--until", "2020-01-01T00:00:00Z"], 2, ("is over",)),
        (["hold", "web", "--until", "-1h"], 2, ("no time that is to come",)),
        (["hold", "web", "--by", " "], 2, ("names nobody",)),
        (["hold", "web", "--kubeconfig", "x"], 2, ("give one of them",)),
        (["approve", "web", "a b"], 2, ("is not a tag", "TAG[@DIGEST]")),
        (["approve", "web", "1@sha256:1"], 2, ("is not a digest",)),
        (["deny", "web", "1.*"], 2, ("is neither a tag nor a digest",)),
        (["rollback", "web", "--to", "a b"], 2, ("is not a tag",)),
        (["history", "web", "--limit", "0"], 2, ("0",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_makes_no_sense_is_said_and_asks_nothing(
    state: Path, cli: Callable[..., tuple[int, str, str]], arguments: list[str], code: int, words: tuple[str, ...]
) -> None:
    found, _, errors = cli(*arguments, "--state", state)
    assert found == code
    assert all(word in errors for word in words), errors
    with Store.open(state) as store:
        assert store.all_wishes() == {}


def test_a_state_file_that_is_not_there_is_not_made(tmp_path: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    code, _, errors = cli("hold", "web", "--state", tmp_path / "none.sqlite")
    assert code == 2
    assert "there is no such file" in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["hold", "web"], ["history", "web"], ["replay"]], ids=lambda words: words[0])
def test_a_file_that_is_no_state_is_left_alone(
    tmp_path: Path, cli: Callable[..., tuple[int, str, str]], command: list[str]
) -> None:
    """It may be the objects file, named by mistake."""
    file = tmp_path / "policies.yaml"
    file.write_text("# none yet\n")
    objects = ["-f", str(file)] if command == ["replay"] else []
    code, _, errors = cli(*command, *objects, "--state", file)
    assert code == 2
    assert f"{file}: --state: is not a state file" in errors
    assert file.read_text() == "# none yet\n"
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_said_twice_is_told_in_whole_sentences(state: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    cli("hold", "web", "--state", state, "--by", "ada")
    _, said, _ = cli("hold", "web", "--state", state, "--by", "ada", "--reason", "the queue is full", "-o", "json")
    assert json.loads(said)["message"].startswith(
        "apps/web is held: the queue is full. It was held before by ada: no reason given. From now on"
    )


def test_the_variable_of_the_controller_is_no_state_file_here(
    state: Path, cli: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its pod the controller has one, and reads no wishes there: what is meant is the cluster."""
    monkeypatch.setenv("IMAGE_UPDATER_STATE", str(state))
    code, _, errors = cli("hold", "web")
    assert code == 2
    assert "kubeconfig" in errors


def test_the_history_of_a_run(state: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    assert "nothing is known of its tags yet" in cli("history", "web", "--state", state)[1]
    with Store.open(state) as store:
        for tag, hours in (("1.2.0", 0), ("1.3.0", 30)):
            begun = NOW + hours * HOUR
            store.note_milestone("apps/web", "", tag, None, Stage.PUSHED, begun)
            store.note_milestone("apps/web", "", tag, None, Stage.COMMITTED, begun + HOUR, commit="c0ffee")
            store.note_milestone("apps/web", "flux/prod", tag, None, Stage.APPLIED, begun + 2 * HOUR)
        store.note_milestone("apps/web", "flux/prod", "1.2.0", None, Stage.HEALTHY, NOW + 27 * HOUR)
        store.note_milestone("apps/web", "flux/prod", "1.3.0", None, Stage.FAILED, NOW + 33 * HOUR)
    code, said, _ = cli("history", "web", "--state", state, "--color", "never")
    assert code == 0
    lines = [line.split() for line in said.splitlines()]
    assert lines[0] == ["apps/web:", "1.3.0", "is", "chosen"]
    assert lines[2][:2] == ["1.3.0", "flux/prod"]
    assert "failed" in lines[2]
    assert lines[3][-2:] == ["1d", "3h"]
    document = json.loads(cli("history", "web", "--state", state, "-o", "json", "--limit", "1")[1])
    (row,) = document["tags"]
    assert (row["tag"], row["commit"], row["leadTimeSeconds"], row["failed"]) == (
        "1.3.0",
        "c0ffee",
        None,
        "2026-03-02T21:00:00Z",
    )


# ------------------------------------------------------------------------------------------- a `run` that listens


async def test_run_hears_what_is_asked_through_its_state_file(tmp_path: Path) -> None:
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
        objects = tmp_path / "objects.yaml"
        objects.write_text(
            stage.OBJECTS.format(image=image, url=repository.as_uri()).replace("interval: 1h", "interval: 1s")
        )
        state = tmp_path / "run.sqlite"

        async def ask(*arguments: str) -> None:
            async with image_updater(tmp_path, *arguments, "--state", str(state), "--by", "ada") as command:
                _, errors = await command.process.communicate()
                assert command.process.returncode == 0, errors.decode()

        arguments = ("run", "-f", str(objects), "--listen", "", "--state", str(state))
        async with image_updater(tmp_path, *arguments) as daemon:
            await daemon.until("people ask through --state")
            await changed(repository, "1.4.1")
            await ask("hold", "web", "--reason", "the queue is full")
            await daemon.until("somebody asked something")
            before, _ = show_commit(repository)
            registry.push(stage.REPOSITORY, "1.5.0")
            await until_judged(state, "1.5.0")
            assert show_commit(repository)[0] == before
            await ask("deny", "web", "1.5.0")
            await ask("resume", "web")
            registry.push(stage.REPOSITORY, "1.4.2")
            await changed(repository, "1.4.2")
            await ask("deny", "web", "1.5.0", "--undo")
            await changed(repository, "1.5.0")
            daemon.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(STEP):
                await daemon.process.communicate()
            assert daemon.process.returncode == 0


async def until_judged(state: Path, tag: str) -> None:
    """Wait until the daemon has said of the new tag that it is held."""
    async with asyncio.timeout(STEP):
        while True:
            with Store.open(state) as store:
                decisions = store.decisions("default/web")
            if decisions and tag in decisions[0].reason and "the queue is full" in decisions[0].reason:
                return
            await asyncio.sleep(0.1)  # another process writes: there is nothing to wait on


# ------------------------------------------------------------------------------------------- replay

POLICY = """\
apiVersion: image-updater.dev/v1alpha1
kind: ImagePolicy
metadata: {name: web, namespace: apps}
spec:
  image: ghcr.io/acme/web
  policy: {semver: {range: '*'}}
"""


@pytest.fixture
def past(tmp_path: Path) -> Path:
    """A policy, and a tags file: a tag every six hours, for five days."""
    (tmp_path / "policies.yaml").write_text(POLICY)
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    tags = [{"tag": f"1.{i}.0", "created": f"{(begin + i * 6 * HOUR):%Y-%m-%dT%H:%M:%SZ}"} for i in range(20)]
    (tmp_path / "tags.json").write_text(json.dumps(tags))
    return tmp_path


SPAN = ("--since", "2026-03-02T00:00:00Z", "--until", "2026-03-04T00:30:00Z")


def test_the_past_is_replayed(past: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    code, said, _ = cli("replay", "-f", past / "policies.yaml", "--tags", past / "tags.json", *SPAN)
    assert code == 0
    assert "2026-03-02T00:00Z to 2026-03-04T00:30Z" in said
    assert "apps/web: 8 deploys, from 1.4.0 to 1.12.0" in said
    assert "2026-03-02T06:00Z  1.5.0" in said
    document = json.loads(
        cli("replay", "-f", past / "policies.yaml", "--tags", past / "tags.json", *SPAN, "-o", "json")[1]
    )
    (web,) = document["policies"]
    assert (web["policy"], web["deploys"], web["start"], web["end"]) == ("apps/web", 8, "1.4.0", "1.12.0")
    assert web["commits"][0] == {
        "at": "2026-03-02T06:00:00Z",
        "tag": "1.5.0",
        "digest": None,
        "before": "1.4.0",
        "reason": web["commits"][0]["reason"],
        "appeared": "2026-03-02T06:00:00Z",
        "waitedSeconds": 0,
        "heldBy": [],
    }


def test_two_policies_are_shown_side_by_side(past: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    slow = past / "slow.yaml"
    slow.write_text(POLICY + "  minAge: 10h\n  windows: [{cron: '0 9 * * *', duration: 4h}]\n")
    arguments = ("replay", "-f", slow, "--against", past / "policies.yaml", "--tags", past / "tags.json", *SPAN)
    code, said, _ = cli(*arguments)
    assert code == 0
    assert "apps/web: 4 deploys here, 8 deploys there" in said
    assert "HERE" in said
    document = json.loads(cli(*arguments, "-o", "json")[1])
    assert [each["deploys"] for each in (*document["policies"], *document["against"])] == [4, 8]
    assert document["policies"][0]["commits"][0]["heldBy"] == ["minAge", "windows"]


def test_a_state_file_is_a_history_too(past: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    state = past / "state.sqlite"
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    with Store.open(state) as store:
        store.note_seen("ghcr.io/acme/web", "me", ["1.0.0"], begin)
        store.note_seen("ghcr.io/acme/web", "me", ["1.1.0"], begin + 30 * HOUR)
        store.save_tags(
            "ghcr.io/acme/web", "me", StoredTags(tags=("1.0.0", "1.1.0"), fingerprint="f", scanned_at=begin)
        )
    code, said, _ = cli("replay", "-f", past / "policies.yaml", "--state", state, *SPAN)
    assert code == 0
    assert "1 deploy, from 1.0.0 to 1.1.0" in said
    assert "2026-03-02T06:00Z  1.1.0" in said
    assert "1 of 2 tags have no date" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give the history"),
        (["--tags", "tags.json", "--since", "yesterday"], "is neither how long ago"),
        (["--tags", "tags.json", "--since", "1h", "--until", "2h"], "is not before"),
        (["--tags", "tags.json", "--state", "s"], "give one of them"),
        (["--state", "none.sqlite"], "there is no such file"),
        (["--tags", "tags.json", "--policy", "wbe"], "there is no ImagePolicy wbe"),
    ],
)
def test_a_replay_without_sense_is_refused(
    past: Path,
    cli: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(past)
    code, _, errors = cli("replay", "-f", "policies.yaml", *arguments)
    assert code == 2
    assert words in errors
    assert not Path("none.sqlite").exists()


def test_a_policy_is_found_by_its_name_and_time_counts_in_days(
    past: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    code, said, _ = cli(
        "replay", "-f", past / "policies.yaml", "--tags", past / "tags.json", "--policy", "web", "--since", "4000d"
    )
    assert code == 0
    assert "20 deploys, from nothing to 1.19.0" in said
