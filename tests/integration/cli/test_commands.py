"""The command line as scripts see it: exit codes, JSON, diffs, and what stands on stderr."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.cli.app import COMMANDS, run
from image_updater.embedded import EmbeddedRegistry
from tests.parts.tools import binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POLICY = """
apiVersion: image-updater.dev/v1alpha1
kind: ImagePolicy
metadata: {name: web}
spec:
  image: IMAGE
  insecure: true
  policy: {semver: {range: '^1'}}
"""
KUSTOMIZATION = """\
resources: [deployment.yaml]
images:
- name: acme/web
  newTag: 1.0.0   # a comment
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: acme/web}
"""

Cli = "Callable[..., tuple[int, str, str]]"


@pytest.fixture
def cli(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = run([str(each) for each in arguments])
        sys.stdout.flush()
        captured = capfdbinary.readouterr()
        return code, captured.out.decode(), captured.err.decode()

    return call


@pytest.fixture(autouse=True)
def _kustomize(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_UPDATER_KUSTOMIZE", binary("kustomize"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A checkout with one root, on branch main."""
    folder = tmp_path / "fleet"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(KUSTOMIZATION)
    (folder / "deployment.yaml").write_text(DEPLOYMENT)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "config", "user.name", "Ada")
    git(folder, "config", "user.email", "ada@example.test")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "Start")
    return folder


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    path = tmp_path / "policies.yaml"
    path.write_text(POLICY.replace("IMAGE", "acme/web"))
    return path


@pytest.fixture
def tags(tmp_path: Path) -> Path:
    path = tmp_path / "tags"
    path.write_text("1.0.0\n1.1.0\n2.0.0\nlatest\n")
    return path


@pytest.fixture
def registry() -> Iterator[EmbeddedRegistry]:
    """The embedded registry in a thread of its own, as the command line brings its own loop."""
    started, stop = threading.Event(), asyncio.Event()
    server = EmbeddedRegistry()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with server:
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(10)
    yield server
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


# ------------------------------------------------------------------------------------------------- explain


def test_explain_accounts_for_every_tag(cli: Any, policies: Path, tags: Path) -> None:
    code, out, err = cli("explain", "-f", policies, "--tags", tags, "-o", "json")
    (report,) = json.loads(out)
    assert (code, err) == (0, "")
    assert (report["policy"], report["image"]) == ("default/web", "acme/web")
    assert report["chosen"] == {"tag": "1.1.0", "digest": None}
    assert [(each["tag"], each["verdict"]) for each in report["tags"]] == [
        ("1.1.0", "chosen"),
        ("1.0.0", "eligible"),
        ("2.0.0", "rejected"),
        ("latest", "rejected"),
    ]
    assert all(each["reason"] for each in report["tags"])


@pytest.mark.parametrize(
    ("current", "chosen"),
    [
        (["1.0.0"], "1.1.0"),
        (["1.1.0"], "1.1.0"),
        (["1.2.0"], None),
        (["latest"], "1.1.0"),
        (["docker.io/acme/web=1.2.0"], None),
        (["acme/other=1.2.0"], "1.1.0"),
        (["1.2.0", "acme/web=1.0.0"], "1.1.0"),
    ],
)
def test_explain_current_applies_never_down(
    cli: Any, policies: Path, tags: Path, current: list[str], chosen: str | None
) -> None:
    flags = [part for value in current for part in ("--current", value)]
    code, out, _ = cli("explain", "-f", policies, "--tags", tags, "-o", "json", *flags)
    (report,) = json.loads(out)
    assert code == 0
    assert (report["chosen"] or {"tag": None})["tag"] == chosen
    assert report["reason"]
    if chosen is None:
        assert "chosen" not in {each["verdict"] for each in report["tags"]}


def test_explain_asks_the_registry_and_says_when_it_fails(cli: Any, tmp_path: Path, registry: Any) -> None:
    registry.push("acme/web", "1.0.0")
    registry.push("acme/web", "1.0.1")
    good = POLICY.replace("IMAGE", f"{registry.host}/acme/web")
    bad = good.replace("acme/web", "acme/absent").replace("name: web", "name: absent")
    (tmp_path / "both.yaml").write_text(f"{good}---{bad}")
    code, out, err = cli("explain", "-f", tmp_path / "both.yaml", "-o", "json")
    first, second = json.loads(out)
    assert code == 1
    assert first["chosen"]["tag"] == "1.0.1"
    assert (second["chosen"], second["tags"]) == (None, [])
    assert second["reason"]
    assert "default/absent" in err
    code, out, _ = cli("explain", "-f", tmp_path / "both.yaml", "--policy", "web")
    assert code == 0
    assert "1.0.1" in out
    assert "absent" not in out


def test_an_invalid_policy_is_exit_2_with_file_line_field_and_remedy(cli: Any, tmp_path: Path, tags: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(POLICY.replace("IMAGE", "acme/web").replace("^1", "1.x.q"))
    code, out, err = cli("explain", "-f", path, "--tags", tags, "-o", "json")
    assert code == 2
    (error,) = json.loads(out)["errors"]
    assert (error["file"], error["line"]) == (str(path), 8)
    assert "spec.policy.semver.range" in error["field"]
    assert f"{path}:8" in err


@pytest.mark.parametrize("name", ["update", "explain"])
def test_a_broken_tags_file_is_exit_2_and_named(cli: Any, policies: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "t.json").write_text('{"acme/web": 1}')
    target = [str(tmp_path)] if name == "update" else []
    code, _, err = cli(name, *target, "-f", policies, "--tags", tmp_path / "t.json")
    assert code == 2
    assert "t.json" in err


# ------------------------------------------------------------------------------------------------- update


def test_a_dry_run_says_what_would_change_and_changes_nothing(
    cli: Any, repository: Path, policies: Path, tags: Path
) -> None:
    code, out, _ = cli("update", repository, "-f", policies, "--tags", tags, "-o", "json")
    report = json.loads(out)
    assert code == 3
    assert (report["changed"], report["commit"]) == (True, None)
    (edit,) = report["edits"]
    assert edit == {
        "file": "kustomization.yaml",
        "line": 4,
        "field": "images[0].newTag",
        "old": "1.0.0",
        "new": "1.1.0",
        "policy": "default/web",
        "kind": "scalar",
    }
    (site,) = report["sites"]
    assert (site["state"], site["roots"], site["policy"]) == ("updated", ["."], "default/web")
    assert report["problems"] == []
    assert git(repository, "status", "--porcelain") == ""


def test_the_diff_is_what_write_writes(cli: Any, repository: Path, policies: Path, tags: Path) -> None:
    code, out, _ = cli("update", repository, "-f", policies, "--tags", tags, "-o", "diff")
    assert code == 3
    subprocess.run(["git", "apply", "-p1"], cwd=repository, input=out.encode(), check=True)
    applied = (repository / "kustomization.yaml").read_bytes()
    git(repository, "checkout", "-q", ".")
    code, out, _ = cli("update", repository, "-f", policies, "--tags", tags, "--write")
    assert code == 0
    assert (repository / "kustomization.yaml").read_bytes() == applied
    assert "1.0.0 → 1.1.0" in out
    code, out, _ = cli("update", repository, "-f", policies, "--tags", tags)
    assert code == 0
    assert "up to date" in out


def test_a_commit_is_made_and_a_second_run_does_nothing(cli: Any, repository: Path, policies: Path, tags: Path) -> None:
    code, out, _ = cli("update", repository, "-f", policies, "--tags", tags, "--commit", "-o", "json")
    report = json.loads(out)
    assert code == 0
    assert git(repository, "rev-parse", "HEAD").strip() == report["commit"]
    assert git(repository, "status", "--porcelain") == ""
    code, out, _ = cli("update", repository, "-f", policies, "--tags", tags, "--commit", "-o", "json")
    assert (code, json.loads(out)["commit"]) == (0, None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["update", "--write", "--commit"], "--write and --commit exclude each other"),
        (["update", "--pull-request"], "--pull-request is not built yet"),
        (["update", "https://git.test/a.git", "--write"], "needs a folder"),
        (["update", "--nope"], "No such option"),
        (["updaet"], "did you mean 'update'"),
        (["set", "web"], "says nothing to set"),
        (["explain"], "-f FILE"),
        (["run", "-f", "-"], "cannot be watched"),
        (["explain", "-f", "absent.yaml"], "absent.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_exit_2_and_says_what_was_expected(cli: Any, arguments: list[str], said: str) -> None:
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


# ------------------------------------------------------------------------------------------------- the others


def test_images_lists_every_site(cli: Any, repository: Path, policies: Path) -> None:
    code, out, _ = cli("images", repository, "-o", "json")
    (site,) = json.loads(out)["sites"]
    assert code == 0
    assert (site["state"], site["policy"], site["roots"]) == ("unmanaged", None, ["."])
    code, out, _ = cli("images", repository, "-f", policies, "-o", "json")
    (site,) = json.loads(out)["sites"]
    assert site["policy"] == "default/web"
    code, out, _ = cli("images", repository)
    assert "1 site, 1 image, 1 root" in out


def test_set_edits_by_hand(cli: Any, repository: Path) -> None:
    code, out, _ = cli("set", "acme/web=:3.0.0", "--path", repository, "--dry-run", "-o", "json")
    assert code == 3
    assert [edit["new"] for edit in json.loads(out)["edits"]] == ["3.0.0"]
    code, _, _ = cli("set", "acme/web=:3.0.0", "--path", repository)
    assert code == 0
    assert "newTag: 3.0.0   # a comment" in (repository / "kustomization.yaml").read_text()


def test_render_and_diff(cli: Any, repository: Path) -> None:
    code, out, _ = cli("render", repository)
    assert code == 0
    assert "image: acme/web:1.0.0" in out
    code, out, _ = cli("diff", repository)
    assert (code, "no object differs" in out) == (0, True)
    text = (repository / "kustomization.yaml").read_text()
    (repository / "kustomization.yaml").write_text(text.replace("1.0.0", "1.5.0"))
    code, out, _ = cli("diff", repository, "-o", "json")
    assert code == 0
    report = json.loads(out)
    assert report["images"] == [{"root": ".", "old": "acme/web:1.0.0", "new": "acme/web:1.5.0"}]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_program(cli: Any, shell: str) -> None:
    code, out, _ = cli("completion", shell)
    assert code == 0
    assert "_IMAGE_UPDATER_COMPLETE" in out


def test_every_command_has_help(cli: Any) -> None:
    code, out, _ = cli("--help")
    assert code == 0
    for name in COMMANDS:
        assert name in out
        code, text, _ = cli(name, "--help")
        assert code == 0
        assert "Usage: image-updater" in text


def test_colour_only_where_it_is_wanted(cli: Any, policies: Path, tags: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = cli("explain", "-f", policies, "--tags", tags)[1]
    assert "\x1b[" not in plain
    coloured = cli("explain", "-f", policies, "--tags", tags, "--color", "always")[1]
    assert "\x1b[" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in cli("explain", "-f", policies, "--tags", tags)[1]


def test_an_unexpected_fault_is_one_line(cli: Any, policies: Path, tags: Path, monkeypatch: Any) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom\nbang")

    monkeypatch.setattr("image_updater.cli.options.load_objects", broken)
    code, out, err = cli("explain", "-f", policies, "--tags", tags)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "IMAGE_UPDATER_DEBUG=1" in err


def test_hostile_names_reach_the_terminal_as_text(cli: Any, policies: Path, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("1.0.0\n\x1b]0;owned\x07\n")
    out = cli("explain", "-f", policies, "--tags", tmp_path / "t")[1]
    assert "\x1b" not in out
    assert "\\x1b" in out


def test_objects_come_from_standard_input(cli: Any, policies: Path, tags: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "image_updater", "explain", "-f", "-", "--tags", str(tags), "-o", "json"],
        input=policies.read_bytes(),
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)[0]["chosen"]["tag"] == "1.1.0"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from image_updater.cli.app import run; run(['--help']); "
        "heavy = {'httpx', 'pygit2', 'rich', 'aiohttp', 'yaml', 'asyncio', 'cryptography', 'prometheus_client'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
