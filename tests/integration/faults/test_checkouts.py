"""Checkouts in every state that people leave them in, and other processes that write in them meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration.faults.harness import DEPLOYMENT, alone, automation, leftovers, policy, repository
from tests.parts import gitservers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.faults.harness import Fleet

git = gitservers.git


def text(stage: Fleet, name: str, tag: str) -> str:
    return DEPLOYMENT.format(name=name, image=f"{stage.image(name)}:{tag}")


def subjects(checkout: Path) -> list[str]:
    return git("log", "--format=%s", cwd=checkout).splitlines()


# ------------------------------------------------------------------------------------------------- a person's work


@pytest.mark.parametrize("mode", ["--commit", "--push"])
def test_dirty_files_are_refused_and_everything_else_is_done(stage: Fleet, mode: str) -> None:
    checkout = stage.clone()
    web = checkout / "web" / "deployment.yaml"
    staged = text(stage, "web", "1.0.0").replace("kept as it is", "staged")
    unstaged = staged.replace("staged", "not staged")
    web.write_text(staged)
    (checkout / "new.yaml").write_text("kind: New\n")
    git("add", "web", "new.yaml", cwd=checkout)
    web.write_text(unstaged)
    (checkout / "notes.txt").write_text("mine\n")
    before = git("diff", "--cached", cwd=checkout)
    result = stage.update(str(checkout), mode)
    assert result.code == 0, result.err
    assert result.states == {"web/deployment.yaml": "refused", "api/deployment.yaml": "updated"}
    assert "changes that are not committed" in result.reason("web/deployment.yaml")
    assert git("diff", "--cached", cwd=checkout) == before
    assert web.read_text() == unstaged
    assert leftovers(checkout) == ["A  new.yaml", "MM web/deployment.yaml", "?? notes.txt"]
    assert git("diff", "--name-only", "HEAD~1", "HEAD", cwd=checkout) == "api/deployment.yaml"
    assert stage.tags == {"web": "1.0.0", "api": "1.1.0" if mode == "--push" else "1.0.0"}


def test_write_edits_dirty_files_too_and_stages_nothing(stage: Fleet) -> None:
    checkout = stage.clone()
    web = checkout / "web" / "deployment.yaml"
    web.write_text(text(stage, "web", "1.0.0").replace("kept as it is", "mine"))
    assert stage.update(str(checkout), "--write").code == 0
    assert web.read_text() == text(stage, "web", "1.1.0").replace("kept as it is", "mine")
    assert leftovers(checkout) == ["M api/deployment.yaml", " M web/deployment.yaml"]
    assert subjects(checkout) == ["Start"]


def test_a_detached_head_takes_no_commit_and_still_takes_a_write(stage: Fleet) -> None:
    checkout = stage.clone()
    git("checkout", "-q", "--detach", cwd=checkout)
    for mode in ("--commit", "--push"):
        result = stage.update(str(checkout), mode)
        assert result.code in (1, 2)
        assert "detached" in result.err
    assert stage.update(str(checkout)).code == 3
    assert stage.update(str(checkout), "--write").code == 0
    assert len(subjects(checkout)) == 1


def test_a_merge_in_progress_takes_no_commit(stage: Fleet) -> None:
    checkout = stage.clone()
    git("switch", "-q", "-c", "other", cwd=checkout)
    (checkout / "x").write_text("1\n")
    git("add", "x", cwd=checkout)
    git("commit", "-qm", "x", cwd=checkout)
    git("switch", "-q", "main", cwd=checkout)
    git("merge", "-q", "--no-commit", "--no-ff", "other", cwd=checkout)
    result = stage.update(str(checkout), "--commit")
    assert result.code == 1
    assert "merge is in progress" in result.err
    assert subjects(checkout) == ["Start"]
    assert leftovers(checkout) == ["A  x"]


def test_a_branch_without_upstream_is_told_before_anything_is_committed(stage: Fleet) -> None:
    checkout = stage.clone()
    git("switch", "-q", "-c", "topic", cwd=checkout)
    result = stage.update(str(checkout), "--push")
    assert result.code in (1, 2)
    assert "has no upstream" in result.err
    assert "git push -u origin topic" in result.err
    assert subjects(checkout) == ["Start"]


def test_a_push_that_lost_keeps_the_commit_and_a_later_run_brings_it_home(stage: Fleet) -> None:
    checkout = stage.clone()
    gitservers.commit(stage.bare, {"README": "1\n"}, message="Person")
    result = stage.update(str(checkout), "--push")
    assert result.code == 1
    assert "git pull" in result.err
    assert len(stage.log) == 2
    assert len(subjects(checkout)) == 3
    assert set(result.states.values()) == {"updated"}
    assert "committed here, but the push failed" in result.reason("web/deployment.yaml")
    git("pull", "-q", "--rebase", cwd=checkout)
    again = stage.update(str(checkout), "--push")
    assert again.code == 0, again.err
    assert [each["pushed"] for each in again.report["commits"]] == [True, True]
    assert set(stage.tags.values()) == {"1.1.0"}
    assert len(stage.log) == 4
    stage.sound()


# ------------------------------------------------------------------------------------------------- kinds of checkouts


def test_a_clone_of_depth_one_commits_and_pushes(stage: Fleet) -> None:
    for number in range(3):
        gitservers.commit(stage.bare, {"README": f"{number}\n"}, message=f"Person {number}")
    checkout = stage.clone("shallow", "--depth=1")
    result = stage.update(str(checkout), "--push")
    assert result.code == 0, result.err
    assert set(stage.tags.values()) == {"1.1.0"}
    assert len(stage.log) == 6
    stage.sound()


def test_a_worktree_is_a_checkout_of_its_own(stage: Fleet) -> None:
    checkout = stage.clone()
    git("worktree", "add", "-q", "-b", "side", checkout.parent / "side", cwd=checkout)
    assert stage.update(str(checkout.parent / "side"), "--commit").code == 0
    assert len(git("log", "--format=%s", "side", cwd=checkout).splitlines()) == 3
    assert subjects(checkout) == ["Start"]
    assert leftovers(checkout) == []
    assert leftovers(checkout.parent / "side") == []


def test_without_git_on_the_path_everything_works(stage: Fleet, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    checkout = stage.clone()
    stage.home.environment["PATH"] = str(tmp_path / "bin")
    assert stage.update(str(checkout), "--push").code == 0
    assert set(stage.tags.values()) == {"1.1.0"}
    stage.home.environment.pop("PATH")
    stage.sound()


def test_submodules_symlinks_and_lfs_pointers_are_left_alone(stage: Fleet, tmp_path: Path) -> None:
    checkout = stage.clone()
    other = gitservers.bare(tmp_path / "other.git", files={"app.yaml": text(stage, "web", "1.0.0")})
    git("-c", "protocol.file.allow=always", "submodule", "-q", "add", other.as_uri(), "sub", cwd=checkout)
    outside = tmp_path / "outside.yaml"
    outside.write_text(text(stage, "web", "1.0.0"))
    (checkout / "plain").mkdir()
    (checkout / "plain" / "real.yaml").write_text(text(stage, "web", "1.0.0").replace("name: web", "name: real"))
    (checkout / "plain" / "inside.yaml").symlink_to("real.yaml")
    (checkout / "plain" / "out.yaml").symlink_to(outside)
    (checkout / "away").symlink_to(tmp_path)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12\n"
    (checkout / "plain" / "big.yaml").write_text(pointer)
    git("add", "-A", cwd=checkout)
    git("commit", "-qm", "Odd things", cwd=checkout)
    stage.write("".join(policy(name, stage.image(name)) for name in stage.names) + repository(stage.url) + automation())
    result = stage.update(str(checkout), "--commit")
    assert result.code == 0, result.err
    changed = git("diff", "--name-only", "HEAD~1", "HEAD", cwd=checkout).splitlines()
    assert changed == ["api/deployment.yaml", "plain/real.yaml", "web/deployment.yaml"]
    assert outside.read_text() == text(stage, "web", "1.0.0")
    assert (checkout / "sub" / "app.yaml").read_text() == text(stage, "web", "1.0.0")
    assert (checkout / "plain" / "big.yaml").read_text() == pointer
    assert leftovers(checkout) == []


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_committed(stage: Fleet, tmp_path: Path) -> None:
    """Root may write anywhere, so the file system is what refuses: no file may grow."""
    import resource
    import signal

    def full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    checkout = stage.clone()
    for name in stage.names:
        # Plain manifests: no build needs the disk.
        git("rm", "-q", f"{name}/kustomization.yaml", cwd=checkout)
    git("commit", "-qm", "Plain", cwd=checkout)
    for mode in ("--write", "--commit"):
        stage.home.limits = full
        result = stage.update(str(checkout), mode, "--tags", str(tags(stage, tmp_path)))
        stage.home.limits = None
        assert result.code == 1
        assert "cannot be written" in result.err
        assert leftovers(checkout) == []
        assert len(subjects(checkout)) == 2
    assert stage.update(str(checkout), "--commit").code == 0
    assert len(subjects(checkout)) == 4


def tags(stage: Fleet, folder: Path) -> Path:
    file = folder / "tags.txt"
    file.write_text("1.0.0\n1.1.0\n")
    return file


# ------------------------------------------------------------------------------------------------- other writers


def edit_at(stage: Fleet, step: str, edit: str, *arguments: str) -> subprocess.Popen[bytes]:
    """The command line, with a person who saves a file at that step (`edit`: Python, run once)."""
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); from tests.integration.faults import launcher\n"
        f"def save():\n    launcher.die = lambda: None\n{edit}\n"
        "launcher.die = save; launcher.arm(sys.argv[2])\n"
        "from image_updater.cli.app import run; sys.exit(run(sys.argv[3:]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, stage.home.variables()["PYTHONPATH"], step, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=stage.home.variables(),
    )


@pytest.mark.parametrize("mode", ["--write", "--commit"])
@pytest.mark.parametrize("step", ["before-plan", "before-prove", "after-prove", "before-fsync:2"])
def test_what_a_person_saves_between_plan_and_write_is_kept(stage: Fleet, step: str, mode: str) -> None:
    stage.write("".join(policy(name, stage.image(name)) for name in stage.names) + repository(stage.url) + automation())
    checkout = stage.clone()
    file = checkout / "web" / "deployment.yaml"
    edit = (
        f"    p = pathlib.Path({str(file)!r}); p.write_text(p.read_text().replace('kept as it is', 'saved meanwhile'))"
    )
    process = edit_at(stage, step, edit, "update", str(checkout), "-f", str(stage.objects), mode, "-o", "json")
    result = stage.home.end(process)
    assert "saved meanwhile" in file.read_text()
    assert result.code == 0, result.err
    if mode == "--write":
        assert file.read_text() == text(stage, "web", "1.1.0").replace("kept as it is", "saved meanwhile")
    else:
        assert result.states["web/deployment.yaml"] == "refused"
        assert file.read_text() == text(stage, "web", "1.0.0").replace("kept as it is", "saved meanwhile")
        assert git("diff", "--name-only", "HEAD~1", "HEAD", cwd=checkout) == "api/deployment.yaml"
        assert leftovers(checkout) == ["M web/deployment.yaml"]
    assert (checkout / "api" / "deployment.yaml").read_text() == text(stage, "api", "1.1.0")


def test_what_a_person_commits_meanwhile_is_built_upon(stage: Fleet) -> None:
    checkout = stage.clone()
    stage.write(policy("web", stage.image("web")) + repository(stage.url) + automation())
    (checkout / "web" / "note.txt").write_text("x\n")
    edit = (
        "    import subprocess; subprocess.run(['git', '-c', 'user.name=P', '-c', 'user.email=p@example.com',"
        f" '-C', {str(checkout)!r}, 'commit', '-qm', 'Person', '--allow-empty'], check=True)"
    )
    process = edit_at(
        stage, "before-prove", edit, "update", str(checkout), "-f", str(stage.objects), "--commit", "-o", "json"
    )
    result = stage.home.end(process)
    assert result.code == 0, result.err
    assert subjects(checkout) == [f"Update {stage.image('web')} to 1.1.0", "Person", "Start"]
    assert git("diff", "--name-only", "HEAD~1", "HEAD", cwd=checkout) == "web/deployment.yaml"


def test_set_never_overwrites_what_was_saved_meanwhile(stage: Fleet) -> None:
    checkout = stage.clone()
    file = checkout / "web" / "kustomization.yaml"
    edit = f"    p = pathlib.Path({str(file)!r}); p.write_text(p.read_text() + 'namePrefix: a-\\n')"
    process = edit_at(stage, "after-set-prove", edit, "set", f"{stage.image('web')}=:1.1.0", "--path", str(file.parent))
    result = stage.home.end(process)
    assert result.code == 1
    assert "changed while" in result.err
    assert file.read_text() == "resources: [deployment.yaml]\nnamePrefix: a-\n"
    assert leftovers(checkout) == ["M web/kustomization.yaml"]


def test_a_lock_of_git_is_named_and_nothing_is_touched(stage: Fleet) -> None:
    checkout = stage.clone()
    lock = checkout / ".git" / "index.lock"
    lock.write_text("")
    result = stage.update(str(checkout), "--commit")
    assert result.code == 1
    assert str(lock) in result.err
    assert "another Git command" in result.err
    assert set(result.states.values()) == {"refused"}
    assert git("status", "--porcelain", cwd=checkout, env={"GIT_OPTIONAL_LOCKS": "0"}) == ""
    lock.unlink()
    assert stage.update(str(checkout), "--commit").code == 0
    assert leftovers(checkout) == []

    reference = checkout / ".git" / "refs" / "heads" / "main.lock"
    reference.write_text("")
    stage.registry.push("acme/web", "1.2.0")
    result = stage.update(str(checkout), "--commit")
    assert result.code == 1
    assert "main" in result.err
    reference.unlink()
    assert leftovers(checkout) == []
    assert stage.update(str(checkout), "--commit").code == 0
    assert subjects(checkout)[0] == f"Update {stage.image('web')} to 1.2.0"


def test_commits_at_once_in_one_checkout_follow_each_other(stage: Fleet, tmp_path: Path) -> None:
    checkout = stage.clone()
    started = []
    for number in range(4):
        name = stage.names[number % 2]
        objects = tmp_path / f"{name}.yaml"
        objects.write_text(policy(name, stage.image(name)) + repository(stage.url) + automation(name, more=alone(name)))
        started.append(stage.home.start("update", str(checkout), "-f", str(objects), "--commit", "-o", "json"))
    results = [stage.home.end(process) for process in started]
    assert [result.code for result in results] == [0] * 4, [result.err for result in results]
    assert sorted(subjects(checkout)) == [
        "Start", *(f"Update {stage.image(name)} to 1.1.0" for name in sorted(stage.names))
    ]  # fmt: skip
    for name in stage.names:
        assert (checkout / name / "deployment.yaml").read_text() == text(stage, name, "1.1.0")
    assert leftovers(checkout) == []
    git("fsck", "--full", "--strict", cwd=checkout)


def test_a_folder_without_git_takes_writes_at_once(stage: Fleet, tmp_path: Path) -> None:
    checkout = stage.clone()
    shutil.rmtree(checkout / ".git")
    started = [
        stage.home.start("update", str(checkout), "-f", str(stage.objects), "--write", "-o", "json") for _ in range(3)
    ]
    results = [stage.home.end(process) for process in started]
    assert [result.code for result in results] == [0] * 3, [result.err for result in results]
    assert sum(result.report["changed"] for result in results) == 1
    for name in stage.names:
        assert (checkout / name / "deployment.yaml").read_text() == text(stage, name, "1.1.0")
        assert len(os.listdir(checkout / name)) == 2
