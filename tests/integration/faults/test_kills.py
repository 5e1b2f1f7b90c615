"""A process killed at any step, then run again: the same end as without the kill, one commit a change, nothing left."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.faults.harness import DEPLOYMENT, Log, automation, leftovers, policy, repository, running, until
from tests.parts import gitservers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.faults.harness import Fleet, Result

PURE = ("list", "select", "locate", "plan", "splice", "prove", "message")
"""Steps that leave nothing behind: after one is before the next."""


def steps(*names: str) -> list[str]:
    return [f"{when}-{name}" for name in names for when in ("before", "after")]


def killed(result: Result) -> bool:
    return result.code == -signal.SIGKILL


URL_STEPS = [
    *(f"before-{name}" for name in PURE),
    *steps("store", "decision", "fetch", "swap", "commit", "push"),
    "after-commit:2",
]


@pytest.mark.parametrize("step", URL_STEPS)
def test_a_killed_push_to_a_url_is_done_once_by_the_next_run(stage: Fleet, tmp_path: Path, step: str) -> None:
    state = ["--state", str(tmp_path / "state.sqlite")]
    first = stage.update("--push", *state, die=step)
    assert killed(first), first
    again = stage.update("--push", *state)
    assert again.code == 0, again.err
    assert set(stage.tags.values()) == {"1.1.0"}
    assert sorted(stage.log) == [
        "Start", f"Update {stage.image('api')} to 1.1.0", f"Update {stage.image('web')} to 1.1.0"
    ]  # fmt: skip
    stage.sound()


def one(stage: Fleet, *, more: str = "") -> None:
    stage.write(
        "".join(policy(name, stage.image(name)) for name in stage.names) + repository(stage.url) + automation(more=more)
    )


COMMIT_STEPS = [
    "before-prove",
    *steps("note", "write", "object", "branch", "noted", "rename:2"),
    "before-fsync:2",
    "before-fsync:3",
]


@pytest.mark.parametrize("step", COMMIT_STEPS)
def test_a_killed_commit_is_done_once_by_the_next_run(stage: Fleet, tmp_path: Path, step: str) -> None:
    one(stage)
    state = ["--state", str(tmp_path / "state.sqlite")]
    checkout = stage.clone()
    (checkout / "mine.txt").write_text("not committed\n")
    (checkout / "staged.txt").write_text("staged\n")
    gitservers.git("add", "staged.txt", cwd=checkout)
    first = stage.update(str(checkout), "--commit", *state, die=step)
    assert killed(first), first
    again = stage.update(str(checkout), "--commit", *state)
    assert again.code == 0, again.err
    done = gitservers.git("log", "--format=%s", cwd=checkout).splitlines()
    assert done == ["Update 2 images", "Start"]
    for name in stage.names:
        text = DEPLOYMENT.format(name=name, image=f"{stage.image(name)}:1.1.0")
        assert (checkout / name / "deployment.yaml").read_text() == text
        assert gitservers.git("show", f"HEAD:{name}/deployment.yaml", cwd=checkout) == text.strip()
    assert leftovers(checkout) == ["A  staged.txt", "?? mine.txt"]
    gitservers.git("fsck", "--full", "--strict", cwd=checkout)


@pytest.mark.parametrize("step", [*steps("upstream", "branch"), "after-noted"])
def test_a_killed_push_of_a_checkout_is_done_once_by_the_next_run(stage: Fleet, step: str) -> None:
    one(stage)
    checkout = stage.clone()
    assert killed(stage.update(str(checkout), "--push", die=step))
    again = stage.update(str(checkout), "--push")
    assert again.code == 0, again.err
    assert set(stage.tags.values()) == {"1.1.0"}
    assert stage.log == ["Update 2 images", "Start"]
    assert stage.tip == gitservers.git("rev-parse", "HEAD", cwd=checkout)
    assert leftovers(checkout) == []
    stage.sound()
    last = stage.update(str(checkout), "--push")
    assert (last.code, last.report["commit"]) == (0, None)


@pytest.mark.parametrize(
    ("step", "with_git"),
    [
        ("before-fsync", True),
        ("before-fsync:2", False),
        ("before-rename", True),
        ("after-rename", False),
        ("after-rename", True),
        ("after-rename:2", True),
    ],
)
def test_a_killed_write_leaves_whole_files_and_is_finished_by_the_next_run(
    stage: Fleet, step: str, with_git: bool
) -> None:
    one(stage)
    checkout = stage.clone()
    if not with_git:
        subprocess.run(["rm", "-r", str(checkout / ".git")], check=True)
    assert killed(stage.update(str(checkout), "--write", die=step))
    wanted = {
        name: [DEPLOYMENT.format(name=name, image=f"{stage.image(name)}:{tag}") for tag in ("1.0.0", "1.1.0")]
        for name in stage.names
    }
    for name, texts in wanted.items():
        assert (checkout / name / "deployment.yaml").read_text() in texts
    again = stage.update(str(checkout), "--write")
    assert again.code == 0, again.err
    for name, texts in wanted.items():
        assert (checkout / name / "deployment.yaml").read_text() == texts[1]
        assert len(list((checkout / name).iterdir())) == 2
    if with_git:
        assert leftovers(checkout) == ["M api/deployment.yaml", " M web/deployment.yaml"]


@pytest.mark.parametrize(
    ("step", "with_git"),
    [("before-set-splice", True), ("before-set-prove", False), ("before-fsync", True), ("after-fsync", False),
     ("before-rename", True), ("after-rename", False)],
)  # fmt: skip
def test_a_killed_set_is_done_by_the_next(stage: Fleet, step: str, with_git: bool) -> None:
    checkout = stage.clone()
    if not with_git:
        subprocess.run(["rm", "-r", str(checkout / ".git")], check=True)
    command = ["set", f"{stage.image('web')}=:1.1.0", "--path", str(checkout / "web")]
    assert killed(stage.home.run(*command, die=step))
    file = checkout / "web" / "kustomization.yaml"
    before = "resources: [deployment.yaml]\n"
    after = file.read_text()
    assert after == before or "newTag: 1.1.0" in after
    again = stage.home.run(*command)
    assert again.code == 0, again.err
    assert file.read_text().count("newTag") == 1
    assert sorted(path.name for path in file.parent.iterdir()) == ["deployment.yaml", "kustomization.yaml"]


@pytest.mark.parametrize(
    "step",
    ["before-push", "after-push", "after-commit", "before-prove", "after-store", "after-decision", "before-fetch"],
)
def test_a_killed_daemon_goes_on_where_it_was(stage: Fleet, tmp_path: Path, step: str) -> None:
    arguments = ["run", "-f", str(stage.objects), "--listen", "127.0.0.1:0", "--state", str(tmp_path / "run.sqlite")]
    with running(stage.home.start(*arguments, die=step)) as first:
        Log(first)
        assert first.wait(30) == -signal.SIGKILL
    with running(stage.home.start(*arguments)) as second:
        log = Log(second)
        log.until("listening on")
        until(lambda: set(stage.tags.values()) == {"1.1.0"})
        tip = stage.tip
        time.sleep(0.5)  # a second commit would come at once, or never
        second.send_signal(signal.SIGTERM)
        text = log.rest()
        assert second.wait(20) == 0
    assert stage.tip == tip
    assert len(stage.log) == 3
    assert "Traceback" not in text
    stage.sound()
