"""People first: what a person took back in Git is not written again, on the real Git server, from Git alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from image_updater.cli.app import cli
from tests.integration.line.test_checkout import deployment
from tests.parts import gitservers
from tests.parts.gitservers import git

if TYPE_CHECKING:
    from pathlib import Path

OBJECTS = """\
apiVersion: image-updater.dev/v1alpha1
kind: ImagePolicy
metadata: {{name: web{annotations}}}
spec: {{image: acme/web, policy: {policy}}}
---
apiVersion: image-updater.dev/v1alpha1
kind: GitRepository
metadata: {{name: fleet}}
spec: {{url: '{url}', ref: {{branch: main}}}}
---
apiVersion: image-updater.dev/v1alpha1
kind: ImageUpdateAutomation
metadata: {{name: fleet}}
spec: {{sourceRef: {{name: fleet}}{more}}}
"""
WEB = "apps/web.yaml"
SEMVER = "{semver: {range: '*'}}"
FIRST, SECOND, THIRD = (f"sha256:{digit * 64}" for digit in "abc")


@dataclass(kw_only=True)
class Desk:
    """A repository on the server, a person's clone of it, and our command with an empty cache of its own."""

    server: gitservers.HttpServer
    folder: Path
    name: str
    policy: str = SEMVER
    annotations: str = ""
    push: str = ""
    paths: str = ""

    @property
    def bare(self) -> Path:
        return self.server.root / self.name

    @property
    def clone(self) -> Path:
        return self.folder / "clone"

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def person(self, *arguments: str, **environment: str) -> str:
        return git(*arguments, cwd=self.clone, env=environment)

    def pull(self) -> None:
        if not self.clone.exists():
            git("clone", "-q", self.bare, self.clone)
        self.person("fetch", "-q", "origin")
        self.person("checkout", "-q", "main")
        self.person("reset", "-q", "--hard", "origin/main")

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.clone / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def commit(self, message: str = "By hand", *arguments: str) -> str:
        self.person("add", "-A")
        self.person("commit", "-q", "-m", message, *arguments)
        self.person("push", "-q", "origin", "HEAD:main")
        return self.person("rev-parse", "HEAD")

    def by_hand(self, old: str, new: str, message: str = "By hand", path: str = WEB) -> str:
        self.pull()
        self.edit(path, old, new)
        return self.commit(message)

    def revert(self, commit: str = "HEAD") -> str:
        self.pull()
        self.person("revert", "--no-edit", commit)
        self.person("push", "-q", "origin", "HEAD:main")
        return self.person("rev-parse", "HEAD")

    def update(self, *tags: Any, mode: str = "--push", fresh: bool = False) -> dict[str, Any]:
        """`image-updater update URL`; `fresh`: with nothing fetched before."""
        text = OBJECTS.format(
            url=self.url,
            policy=self.policy,
            more=(f", git: {{push: {{branch: {self.push}}}}}" if self.push else "")
            + (f", update: {{paths: [{self.paths}]}}" if self.paths else ""),
            annotations=f", annotations: {self.annotations}" if self.annotations else "",
        )
        (self.folder / "objects.yaml").write_text(text)
        (self.folder / "tags.json").write_text(json.dumps(tags))
        cache = self.folder / f"cache-{len(list(self.folder.iterdir())) if fresh else 0}"
        result = CliRunner().invoke(
            cli,
            ["update", "-f", str(self.folder / "objects.yaml"), "--tags", str(self.folder / "tags.json"), mode,
             "--cache", str(cache), "-o", "json"],
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        answer: dict[str, Any] = json.loads(result.stdout)
        return answer

    def tag(self, path: str = WEB) -> str:
        text = git("show", f"main:{path}", cwd=self.bare)
        return text.rpartition("acme/web:")[2].partition("}")[0]

    @property
    def tip(self) -> str:
        return git("rev-parse", "main", cwd=self.bare)


@pytest.fixture
def desk(server: gitservers.HttpServer, tmp_path: Path) -> Desk:
    made = Desk(server=server, folder=tmp_path, name=f"{tmp_path.name}.git")
    gitservers.bare(made.bare, files={WEB: deployment("web", "1.0.0"), "README.md": "A fleet\n"})
    return made


def held(answer: dict[str, Any]) -> str:
    """Why nothing was written: every site that a policy claims is held, for one reason."""
    assert not answer["changed"], answer["edits"]
    claimed = [site for site in answer["sites"] if site["state"] != "unmanaged"]
    assert {site["state"] for site in claimed} == {"held"}, claimed
    (reason,) = {site["reason"] for site in claimed}
    return str(reason)


def test_a_revert_holds_until_a_newer_tag(desk: Desk) -> None:
    assert desk.update("1.0.0", "1.1.0", "1.2.0")["changed"]
    commit = desk.revert()
    for _ in range(3):
        reason = held(desk.update("1.0.0", "1.1.0", "1.2.0"))
    assert desk.tip == commit
    for word in (commit[:12], "Person", "1.2.0", "newer than 1.2.0 ends it", "resume"):
        assert word in reason
    assert held(desk.update("1.0.0", "1.1.0", fresh=True))
    assert desk.update("1.0.0", "1.1.0", "1.2.0", "1.2.1")["changed"]
    assert desk.tag() == "1.2.1"


def test_what_was_set_by_hand_holds_up_to_our_last_value(desk: Desk) -> None:
    assert desk.update("1.0.0", "1.2.0")["changed"]
    desk.revert()
    desk.by_hand("1.0.0", "0.9.0")
    assert "1.2.0" in held(desk.update("1.0.0", "1.1.0", "1.2.0"))
    assert "1.2.0" in held(desk.update("1.0.0", "1.1.0"))


def test_setting_a_newer_one_by_hand_freezes_nothing(desk: Desk) -> None:
    assert desk.update("1.0.0", "1.2.0")["changed"]
    desk.by_hand("1.2.0", "1.3.0")
    assert held(desk.update("1.0.0", "1.2.0", "1.3.0-rc1")).startswith("1.3.0 is ")
    assert desk.update("1.2.0", "1.3.1")["changed"]


def test_taking_a_revert_back_ends_it(desk: Desk) -> None:
    assert desk.update("1.0.0", "1.2.0")["changed"]
    desk.revert()
    desk.revert()
    assert desk.tag() == "1.2.0"
    assert desk.update("1.2.0", "1.2.1")["changed"]


def test_a_value_that_was_never_ours_is_no_hold(desk: Desk) -> None:
    desk.by_hand("1.0.0", "1.2.0")
    desk.revert()
    assert desk.update("1.0.0", "1.2.0")["changed"]


# ------------------------------------------------------------------------------------------------- ways of merging


def ours(desk: Desk, *tags: str) -> str:
    """A commit of ours on `proposal` alone, as it waits in a pull request; the clone stands on main."""
    desk.push = "proposal"
    assert desk.update(*tags)["changed"]
    desk.push = ""
    desk.pull()
    return git("log", "-1", "--format=%B", "proposal", cwd=desk.bare)


def squash(desk: Desk, message: str) -> None:
    desk.person("merge", "-q", "--squash", "origin/proposal")
    desk.commit(message)


def test_a_squash_with_our_text_is_ours(desk: Desk) -> None:
    body = ours(desk, "1.0.0", "1.1.0")
    squash(desk, "Update web (#7)\n\n* " + body.replace("\n", "\n  ") + "\n\nReviewed-by: Person\n")
    assert desk.tag() == "1.1.0"
    assert desk.update("1.1.0", "1.2.0")["changed"], "a newer one goes on"
    desk.revert()
    desk.revert("HEAD~2")
    assert desk.tag() == "1.0.0"
    assert "1.2.0" in held(desk.update("1.1.0", "1.2.0"))


def test_a_revert_of_a_squash_with_our_text_is_a_hold(desk: Desk) -> None:
    squash_text = "Update web (#7)\n\n" + ours(desk, "1.0.0", "1.1.0") + "\nCo-authored-by: Person <p@example.com>\n"
    squash(desk, squash_text)
    desk.revert()
    assert "1.1.0" in held(desk.update("1.0.0", "1.1.0"))


def test_a_squash_without_our_text_is_no_hold(desk: Desk) -> None:
    assert desk.update("1.0.0", "1.1.0")["changed"]
    ours(desk, "1.1.0", "1.2.0")
    squash(desk, "Update web (#8)")
    assert desk.update("1.1.0", "1.2.0", "1.3.0")["changed"]


def test_a_squash_without_our_text_of_what_cannot_be_ordered_is_no_hold(desk: Desk) -> None:
    """The policy cannot tell which of the two is newer: only the push branch tells that the value is ours."""
    desk.policy = "{numerical: {}}"
    desk.by_hand("1.0.0", "5")
    assert desk.update("5", "6")["changed"]
    desk.policy = "{alphabetical: {}}"
    ours(desk, "6", "main-a")
    squash(desk, "Update web (#9)")
    desk.policy, desk.push = "{numerical: {}}", "proposal"
    answer = desk.update("6", "7")
    assert answer["changed"], answer


def test_a_merge_commit_of_a_person_brings_our_commit(desk: Desk) -> None:
    ours(desk, "1.0.0", "1.1.0")
    desk.person("merge", "-q", "--no-ff", "-m", "Merge the proposal", "origin/proposal")
    desk.person("push", "-q", "origin", "HEAD:main")
    assert desk.update("1.1.0", "1.2.0")["changed"]


def test_reverting_a_merge_commit_is_a_hold(desk: Desk) -> None:
    ours(desk, "1.0.0", "1.1.0")
    desk.person("merge", "-q", "--no-ff", "-m", "Merge the proposal", "origin/proposal")
    desk.person("revert", "-m", "1", "--no-edit", "HEAD")
    desk.person("push", "-q", "origin", "HEAD:main")
    assert "1.1.0" in held(desk.update("1.0.0", "1.1.0"))


def test_a_branch_from_before_that_is_merged_displaces_nothing(desk: Desk) -> None:
    desk.pull()
    desk.person("checkout", "-q", "-b", "feature")
    (desk.clone / "README.md").write_text("Their work\n")
    desk.person("commit", "-qam", "A feature")
    assert desk.update("1.0.0", "1.1.0")["changed"]
    desk.pull()
    desk.person("merge", "-q", "--no-ff", "-m", "Merge the feature", "feature")
    desk.person("push", "-q", "origin", "HEAD:main")
    assert desk.update("1.1.0", "1.2.0")["changed"]


@pytest.mark.parametrize("strategy", ["ours", "theirs"])
def test_a_merge_that_throws_our_value_away_is_a_hold(desk: Desk, strategy: str) -> None:
    desk.pull()
    desk.person("checkout", "-q", "-b", "feature")
    desk.edit("README.md", "fleet", "new fleet")
    desk.person("commit", "-qam", "A feature")
    assert desk.update("1.0.0", "1.1.0")["changed"]
    desk.person("fetch", "-q", "origin")
    if strategy == "ours":
        desk.person("merge", "-q", "-s", "ours", "-m", "Take theirs", "origin/main")
    else:
        desk.person("checkout", "-q", "-B", "feature", "origin/main")
        desk.person("merge", "-q", "--no-ff", "--no-commit", "-s", "ours", "main")
        desk.edit(WEB, "1.1.0", "1.0.0")
        desk.person("add", "-A")
        desk.person("commit", "-q", "--allow-empty", "-m", "Decide by hand")
    desk.person("push", "-q", "origin", "HEAD:main")
    assert desk.tag() == "1.0.0"
    assert "1.1.0" in held(desk.update("1.0.0", "1.1.0"))


def test_a_rebase_keeps_our_commit_ours(desk: Desk) -> None:
    ours(desk, "1.0.0", "1.1.0")
    desk.edit("README.md", "fleet", "new fleet")
    desk.commit("Meanwhile")
    desk.person("checkout", "-q", "-B", "proposal", "origin/proposal")
    desk.person("rebase", "-q", "main")
    desk.person("push", "-q", "origin", "HEAD:main")
    assert desk.update("1.1.0", "1.2.0")["changed"]
    desk.revert("HEAD")
    desk.revert("HEAD~2")
    assert "1.2.0" in held(desk.update("1.1.0", "1.2.0"))


# ------------------------------------------------------------------------------------------------- where it stands

TWO = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: pair}
spec:
  selector: {matchLabels: {app: pair}}
  template:
    metadata: {labels: {app: pair}}
    spec:
      containers:
"""
ONE, OTHER = (f"        - name: {name}\n          image: acme/{name}:1.0.0\n" for name in ("web", "proxy"))


def test_a_site_is_found_after_it_moved(desk: Desk) -> None:
    """Containers change places, documents are put before it, the file gets another name: it is the same site."""
    desk.pull()
    (desk.clone / WEB).write_text(TWO + OTHER + ONE)
    desk.commit("Two containers")
    assert desk.update("1.0.0", "1.1.0")["changed"]
    desk.pull()
    (desk.clone / WEB).write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: first}\n---\n"
        + TWO + ONE.replace("1.0.0", "1.1.0") + OTHER
    )  # fmt: skip
    desk.commit("Other order")
    desk.person("mv", WEB, "apps/pair.yaml")
    desk.edit("apps/pair.yaml", "name: first", "name: second")
    desk.commit("Another name")
    reverted = desk.by_hand("acme/web:1.1.0", "acme/web:1.0.0", "Not this one", path="apps/pair.yaml")
    reason = held(desk.update("1.0.0", "1.1.0"))
    assert reverted[:12] in reason
    assert "1.1.0" in reason


def test_another_image_of_the_file_says_nothing(desk: Desk) -> None:
    desk.pull()
    (desk.clone / WEB).write_text(TWO + OTHER + ONE)
    desk.commit("Two containers")
    assert desk.update("1.0.0", "1.1.0")["changed"]
    desk.by_hand("acme/proxy:1.0.0", "acme/proxy:0.9.0")
    assert desk.update("1.1.0", "1.2.0")["changed"]


BASE = "resources: [web.yaml]\n"
OVERLAY = "namespace: {name}\nresources: [../../base]\n"


def overlays(desk: Desk) -> None:
    desk.pull()
    desk.person("rm", "-q", WEB)
    files = {"base/web.yaml": deployment("web", "1.0.0"), "base/kustomization.yaml": BASE}
    files |= {f"overlays/{name}/kustomization.yaml": OVERLAY.format(name=name) for name in ("dev", "prod")}
    for path, text in files.items():
        (desk.clone / path).parent.mkdir(parents=True, exist_ok=True)
        (desk.clone / path).write_text(text)
    desk.commit("Overlays")


def test_a_hold_on_the_base_is_not_gone_around_by_an_entry(desk: Desk) -> None:
    overlays(desk)
    assert desk.update("1.0.0", "1.1.0")["changed"]
    assert desk.tag("base/web.yaml") == "1.1.0"
    desk.revert()
    assert "1.1.0" in held(desk.update("1.0.0", "1.1.0"))
    assert "1.1.0" in held(narrowed(desk, "overlays/dev", "1.0.0", "1.1.0"))


def narrowed(desk: Desk, path: str, *tags: str) -> dict[str, Any]:
    """As `update`, for an automation that may write below `path` alone."""
    desk.paths = path
    return desk.update(*tags)


def test_an_entry_that_a_person_took_out_is_not_put_back(desk: Desk) -> None:
    overlays(desk)
    assert narrowed(desk, "overlays/dev", "1.0.0", "1.1.0")["changed"]
    assert "newTag" in git("show", "main:overlays/dev/kustomization.yaml", cwd=desk.bare)
    desk.revert()
    reason = held(narrowed(desk, "overlays/dev", "1.0.0", "1.1.0"))
    assert "took 1.1.0 out" in reason
    assert narrowed(desk, "overlays/dev", "1.0.0", "1.1.1")["changed"]


OTHERS = "images: [{name: acme/api, newTag: 3.0.0}]\n"
MOVED = "images:\n  - name: acme/web\n    newName: docker.io/acme/web\n"


@pytest.mark.parametrize("images", ["", OTHERS, MOVED], ids=["no-entries", "others", "its-own-without-a-tag"])
def test_a_reverted_entry_stays_out_however_often_we_look(desk: Desk, images: str) -> None:
    overlays(desk)
    file = "overlays/dev/kustomization.yaml"
    (desk.clone / file).write_text(OVERLAY.format(name="dev") + images)
    desk.commit("Images of dev", "--allow-empty")
    desk.paths = "overlays/dev, overlays/prod"
    assert desk.update("1.0.0", "1.1.0")["changed"]
    assert "newTag: 1.1.0" in git("show", f"main:{file}", cwd=desk.bare)
    commit = desk.revert()
    for number in range(10):
        reason = held(desk.update("1.0.0", "1.1.0", *(["1.0.5"] if number % 2 else []), fresh=number == 9))
        assert commit[:12] in reason
        assert "took 1.1.0 out" in reason
    assert desk.tip == commit
    assert desk.update("1.0.0", "1.1.0", "1.2.0")["changed"]
    assert "newTag: 1.2.0" in git("show", f"main:{file}", cwd=desk.bare)


def test_a_reverted_entry_comes_back_after_a_resume(desk: Desk) -> None:
    overlays(desk)
    assert narrowed(desk, "overlays/dev", "1.0.0", "1.1.0")["changed"]
    desk.revert()
    assert held(desk.update("1.0.0", "1.1.0"))
    desk.pull()
    desk.commit("Go on\n\nImage-Updater: resume", "--allow-empty")
    assert desk.update("1.0.0", "1.1.0")["changed"]


@pytest.mark.parametrize("taken", ["", "digest", "newTag"], ids=["a-revert", "its-digest", "its-tag"])
def test_what_is_taken_out_of_an_entry_is_not_put_back(desk: Desk, taken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.OBJECTS", OBJECTS.replace("policy:", "digestReflectionPolicy: Always, policy:"))
    overlays(desk)
    desk.paths = "overlays/dev"
    known = {"tag": "1.0.0", "digest": FIRST}, {"tag": "1.1.0", "digest": SECOND}
    assert desk.update(*known)["changed"]
    desk.pull()
    file = desk.clone / "overlays/dev/kustomization.yaml"
    lines = file.read_text().splitlines()
    assert any("digest: " in line for line in lines)
    if taken:
        file.write_text("\n".join(line for line in lines if taken not in line) + "\n")
        commit = desk.commit("Out with it")
    else:
        commit = desk.revert()
    for _ in range(3):
        assert f"1.1.0@{SECOND}" in held(desk.update(*known))
    assert desk.tip == commit
    assert desk.update(*known, {"tag": "1.2.0", "digest": THIRD})["changed"]


@pytest.mark.parametrize("file", [WEB, "overlays/dev/kustomization.yaml"], ids=["a-manifest", "a-kustomization"])
def test_a_file_that_a_person_deletes_and_puts_back_is_held(desk: Desk, file: str) -> None:
    if file != WEB:
        overlays(desk)
        desk.paths = "overlays/dev"
    assert desk.update("1.0.0", "1.1.0")["changed"]
    desk.pull()
    before = desk.person("show", f"HEAD~1:{file}")
    desk.person("rm", "-q", file)
    desk.commit("Away with it")
    (desk.clone / file).parent.mkdir(parents=True, exist_ok=True)
    (desk.clone / file).write_text(f"# As it was.\n{before}\n")
    commit = desk.commit("Back as it was")
    for _ in range(3):
        assert "1.1.0" in held(desk.update("1.0.0", "1.1.0"))
    assert desk.tip == commit
    assert desk.update("1.0.0", "1.1.0", "1.2.0")["changed"]


# ------------------------------------------------------------------------------------------------- rollbacks of ours

RECORD = """\
Roll acme/web back to {to}

Rollback: Kustomization apps/shop: 1 of 3 pods crash
Image-Policy: default/web
Image: acme/web
Old: {old}
New: {to}
Automation: default/fleet
"""


def roll_back(desk: Desk, old: str, to: str, *more: str) -> str:
    return desk.by_hand(old, to, RECORD.format(old=old, to=to) + "".join(f"{line}\n" for line in more))


def test_a_rollback_holds_until_a_newer_tag(desk: Desk) -> None:
    assert desk.update("1.0.0", "1.2.0")["changed"]
    commit = roll_back(desk, "1.2.0", "1.0.0")
    for tags in (("1.0.0", "1.2.0"), ("1.0.0", "1.1.0")):
        reason = held(desk.update(*tags))
        assert commit[:12] in reason
        assert "rolled 1.2.0 back (Kustomization apps/shop: 1 of 3 pods crash)" in reason
    assert desk.update("1.2.0", "1.2.1")["changed"]


def test_a_person_who_takes_a_rollback_back_is_not_fought(desk: Desk) -> None:
    assert desk.update("1.0.0", "1.2.0")["changed"]
    roll_back(desk, "1.2.0", "1.0.0")
    desk.revert()
    assert desk.tag() == "1.2.0"
    assert not desk.update("1.0.0", "1.1.0", "1.2.0")["changed"]
    assert desk.update("1.2.0", "1.3.0")["changed"]


def test_a_person_who_goes_further_down_after_a_rollback_opens_nothing(desk: Desk) -> None:
    assert desk.update("1.0.0", "1.2.0")["changed"]
    roll_back(desk, "1.2.0", "1.1.0")
    desk.by_hand("1.1.0", "0.9.0")
    for tags in (("1.0.0", "1.2.0"), ("1.0.0", "1.1.5")):
        assert held(desk.update(*tags))
    assert desk.update("1.2.0", "1.2.1")["changed"]


# ------------------------------------------------------------------------------------------------- people's words


def test_a_commit_can_say_hold_and_another_resume(desk: Desk) -> None:
    commit = desk.by_hand("name: web", "name:  web", "Wait for the fair\n\nImage-Updater: hold")
    reason = held(desk.update("1.0.0", "1.1.0"))
    assert commit[:12] in reason
    assert "Image-Updater: resume" in reason
    desk.by_hand("A fleet", "The fleet", "Unrelated\n\nImage-Updater: resume", path="README.md")
    assert held(desk.update("1.0.0", "1.1.0")), "that was about another file"
    desk.by_hand("name:  web", "name: web", "The fair is over\n\nImage-Updater: resume")
    assert desk.update("1.0.0", "1.1.0")["changed"]


@pytest.mark.parametrize("how", ["the file", "the branch", "among other lines"])
def test_a_commit_that_says_resume_ends_what_a_revert_holds(desk: Desk, how: str) -> None:
    assert desk.update("1.0.0", "1.2.0")["changed"]
    desk.revert()
    assert "`Image-Updater: resume`" in held(desk.update("1.0.0", "1.2.0"))
    desk.by_hand("A fleet", "The fleet", "Unrelated\n\nImage-Updater: resume", path="README.md")
    assert held(desk.update("1.0.0", "1.2.0")), "that was about another file"
    if how == "the file":
        desk.by_hand("name: web", "name:  web", "Go on\n\nImage-Updater: resume")
    else:
        more = "\n\nCo-authored-by: Bob <bob@acme.example>" if how == "among other lines" else ""
        desk.commit(f"Go on\n\nimage-updater: resume{more}", "--allow-empty")
    assert desk.update("1.0.0", "1.2.0", fresh=True)["changed"]
    desk.revert()
    assert held(desk.update("1.0.0", "1.2.0")), "a resume ends nothing of what comes after it"


def test_what_was_set_by_hand_goes_on_after_a_resume_by_another_clock(desk: Desk) -> None:
    desk.policy = SEMVER + ", hold: untilResume"
    assert desk.update("1.0.0", "1.2.0")["changed"]
    desk.by_hand("1.2.0", "1.1.0")
    assert "untilResume" in held(desk.update("1.0.0", "1.2.0", "1.3.0"))
    late = dict.fromkeys(("GIT_COMMITTER_DATE", "GIT_AUTHOR_DATE"), "2020-01-01T00:00:00Z")
    desk.person("commit", "-q", "--allow-empty", "-m", "Go on\n\nImage-Updater: resume", **late)
    desk.person("push", "-q", "origin", "HEAD:main")
    assert desk.update("1.0.0", "1.2.0", "1.3.0")["changed"]
    assert desk.tag() == "1.3.0"


def test_an_empty_commit_holds_the_whole_branch(desk: Desk) -> None:
    desk.pull()
    desk.commit("Nobody moves\n\nImage-Updater: hold", "--allow-empty")
    assert "the branch" in held(desk.update("1.0.0", "1.1.0", fresh=True))
    desk.commit("Go on\n\nImage-Updater: resume", "--allow-empty")
    assert desk.update("1.0.0", "1.1.0")["changed"]


def test_resume_ends_the_holds_from_before(desk: Desk) -> None:
    assert desk.update("1.0.0", "1.2.0")["changed"]
    desk.revert()
    assert held(desk.update("1.0.0", "1.2.0"))
    desk.annotations = "{image-updater.dev/resume: '2020-01-01T00:00:00Z'}"
    assert held(desk.update("1.0.0", "1.2.0")), "the hold began after that"
    desk.annotations = "{image-updater.dev/resume: '2100-01-01T00:00:00Z'}"
    assert desk.update("1.0.0", "1.2.0")["changed"]


def test_a_word_that_nobody_knows_is_a_problem(desk: Desk) -> None:
    commit = desk.by_hand("A fleet", "The fleet", "Stop\n\nImage-Updater: halt", path="README.md")
    answer = desk.update("1.0.0", "1.1.0")
    assert answer["changed"]
    (problem,) = answer["problems"]
    assert problem["file"] == f"commit {commit[:12]}"
    assert "neither hold nor resume" in problem["reason"]


def test_what_the_branch_records_as_bad_is_not_written(desk: Desk) -> None:
    bad = "Quarantine: acme/web:1.2.0\nQuarantine-Reason: it eats the disk"
    desk.by_hand("A fleet", "The fleet", f"Bad\n\n{bad}", path="README.md")
    answer = desk.update("1.0.0", "1.1.0", "1.2.0", fresh=True)
    assert [edit["new"] for edit in answer["edits"]] == ["acme/web:1.1.0"]
    assert not desk.update("1.0.0", "1.1.0", "1.2.0")["changed"]
    desk.by_hand("The fleet", "A fleet", "It does not\n\nRelease: acme/web:1.2.0", path="README.md")
    assert desk.update("1.0.0", "1.1.0", "1.2.0")["changed"]
    assert desk.tag() == "1.2.0"


# ------------------------------------------------------------------------------------------------- other strategies


def test_a_followed_digest_is_held_for_those_bytes_alone(desk: Desk) -> None:
    desk.by_hand("acme/web:1.0.0", f"acme/web:latest@{FIRST}")
    desk.policy = "{digest: {tag: latest}}"
    assert desk.update({"tag": "latest", "digest": SECOND})["changed"]
    desk.revert()
    reason = held(desk.update({"tag": "latest", "digest": SECOND}))
    assert SECOND in reason
    assert "other bytes end it" in reason
    assert desk.update({"tag": "latest", "digest": THIRD})["changed"]


HELM = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: web}
spec:
  values:
    image:
      repository: acme/web
      tag: 1.0.0
"""
MARKED = """\
apiVersion: example.dev/v1
kind: Anything
metadata: {name: web}
spec:
  version: 1.0.0 # {"$imagepolicy": "default:web:tag"}
"""


@pytest.mark.parametrize("text", [HELM, MARKED], ids=["helm", "marker"])
def test_every_kind_of_site_is_held(desk: Desk, text: str) -> None:
    desk.pull()
    (desk.clone / WEB).write_text(text)
    desk.commit("Another kind")
    assert desk.update("1.0.0", "1.1.0")["changed"]
    desk.revert()
    assert "1.1.0" in held(desk.update("1.0.0", "1.1.0"))
    assert desk.update("1.0.0", "1.1.0", "1.1.1")["changed"]


# ------------------------------------------------------------------------------------------------- how far back


def bury(desk: Desk, count: int) -> None:
    """Many commits by people, about something else."""
    tip = git("rev-parse", "main", cwd=desk.bare)
    lines = ["feature done", "reset refs/heads/main", f"from {tip}", ""]
    for number in range(count):
        note = f"Note {number}\n"
        lines += ["commit refs/heads/main", f"committer Person <person@example.com> {1_800_000_000 + number} +0000",
                  f"data {len(note)}", note.rstrip("\n"), f"M 100644 inline notes/{number % 7}.txt",
                  f"data {len(note)}", note.rstrip("\n"), ""]  # fmt: skip
    git("fast-import", "--quiet", "--force", cwd=desk.bare, stdin=("\n".join([*lines, "done"]) + "\n").encode())


def depth(cache: Path) -> int:
    (repository,) = cache.glob("mirrors/*/repository-*")
    return int(git("rev-list", "--count", "refs/mirror/heads/main", cwd=repository))


def test_a_hold_is_found_below_what_a_first_fetch_brings(desk: Desk) -> None:
    assert desk.update("1.0.0", "1.1.0")["changed"]
    commit = desk.revert()
    bury(desk, 80)
    assert commit[:12] in held(desk.update("1.0.0", "1.1.0", fresh=True))


def test_nothing_more_is_fetched_where_nothing_moves(desk: Desk) -> None:
    bury(desk, 80)
    desk.folder = desk.folder / "one"
    desk.folder.mkdir()
    assert not desk.update("1.0.0")["changed"]
    assert depth(desk.folder / "cache-0") == 50
    assert desk.update("1.1.0")["changed"]
    assert depth(desk.folder / "cache-0") == 82


def test_what_is_older_than_a_thousand_commits_is_forgotten(desk: Desk) -> None:
    assert desk.update("1.0.0", "1.1.0")["changed"]
    desk.revert()
    bury(desk, 1005)
    assert desk.update("1.0.0", "1.1.0", fresh=True)["changed"]


def test_a_shallow_checkout_says_what_it_cannot_see(desk: Desk) -> None:
    assert desk.update("1.0.0", "1.1.0")["changed"]
    desk.revert()
    shallow = desk.folder / "shallow"
    git("clone", "-q", "--depth", "1", desk.url, shallow)
    (desk.folder / "tags.json").write_text(json.dumps(["1.0.0", "1.1.0"]))
    command = ["update", str(shallow), "-f", str(desk.folder / "objects.yaml"), "--tags",
               str(desk.folder / "tags.json"), "--dry-run", "-o", "json"]  # fmt: skip
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["changed"]
    (problem,) = answer["problems"]
    assert "git fetch --unshallow" in problem["reason"]
    git("fetch", "-q", "--unshallow", cwd=shallow)
    result = CliRunner().invoke(cli, command)
    assert "1.1.0" in held(json.loads(result.stdout))
