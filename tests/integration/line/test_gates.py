"""`update` with gates from objects files, and with layers that a real registry has lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from image_updater.cli.app import cli
from tests.integration.line.test_checkout import deployment
from tests.integration.line.test_fleet import push_image
from tests.parts import registries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLICY = """\
apiVersion: image-updater.dev/v1alpha1
kind: ImagePolicy
metadata: {name: NAME}
spec:
  image: HOSTacme/NAME
  policy: {semver: {range: ^1}}
  MORE
"""
AUTOMATION = """\
apiVersion: image-updater.dev/v1alpha1
kind: GitRepository
metadata: {name: fleet}
spec: {url: https://git.test/fleet.git, ref: {branch: main}}
---
apiVersion: image-updater.dev/v1alpha1
kind: ImageUpdateAutomation
metadata: {name: NAME}
spec:
  sourceRef: {name: fleet}
  MORE
"""
FREEZE = """\
apiVersion: image-updater.dev/v1alpha1
kind: Freeze
metadata: {name: sale}
spec: {reason: a sale is on, expires: '2024-05-02T00:00:00Z'}
"""
QUARANTINE = """\
apiVersion: image-updater.dev/v1alpha1
kind: Quarantine
metadata: {name: web}
spec: {image: acme/web, tag: 1.1.0, reason: crash loop}
"""
WINDOW = "windows: [{cron: '0 9 * * 1-5', duration: 8h, timeZone: Europe/Berlin}]"
TAGS = {"acme/web": ["1.0.0", "1.1.0"], "acme/api": ["1.0.0", "1.1.0"]}
A, B = (f"sha256:{letter * 64}" for letter in "ab")
NOW = "2024-05-01T12:00:00Z"  # a Wednesday, 14:00 in Berlin


def policy(name: str = "web", more: str = "suspend: false", host: str = "") -> str:
    return POLICY.replace("NAME", name).replace("MORE", more).replace("HOST", host)


def automation(name: str = "fleet", more: str = "interval: 1m") -> str:
    return AUTOMATION.replace("NAME", name).replace("MORE", more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tree"
    for name in ("web", "api"):
        (made / name).mkdir(parents=True)
        (made / name / "deployment.yaml").write_text(deployment(name, "1.0.0"))
    return made


def update(folder: Path, *objects: str, code: int = 0, tags: Any = TAGS, **options: str) -> dict[str, Any]:
    files = {"objects.yaml": "---\n".join(objects), "tags.json": json.dumps(tags)}
    for name, text in files.items():
        (folder.parent / name).write_text(text)
    arguments = ["update", str(folder), "--write", "-f", str(folder.parent / "objects.yaml"), "-o", "json"]
    if tags is not None:
        arguments += ["--tags", str(folder.parent / "tags.json")]
    for name, value in {"now": NOW, **options}.items():
        arguments += [f"--{name}", value]
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    assert result.return_value == code, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def sites(report: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {each["policy"]: (each["state"], each["reason"]) for each in report["sites"] if each["policy"]}


@pytest.mark.parametrize(
    ("gate", "now", "reason"),
    [
        ((policy(), FREEZE), NOW, "Freeze default/sale stops it until 2024-05-02T00:00Z: a sale is on"),
        ((policy(), FREEZE), "2024-05-02T00:00:00Z", None),
        ((policy(more=WINDOW),), NOW, None),
        ((policy(more=WINDOW),), "2024-05-01T16:00:00Z", "open at 2024-05-02T09:00+02:00"),
        ((policy(), automation(more=WINDOW)), NOW, None),
        ((policy(), automation(more=WINDOW)), "2024-05-01T16:00:00Z", "open at 2024-05-02T09:00+02:00"),
        ((policy(more="approvals: 1"),), NOW, "0 of 1 approval"),
        ((policy(more="minAge: 72h"),), NOW, "--state FILE"),
        ((policy(more="verify: {provider: cosign, secretRef: {name: key}}"),), NOW, "signature"),
        ((policy(more="after: {name: staging}"),), NOW, "there is no ImagePolicy default/staging"),
        ((policy(more="platforms: [fromNodes]"),), NOW, "platforms"),
    ],
    ids=[
        "freeze",
        "freeze-is-over",
        "window",
        "outside-window",
        "automation-window",
        "outside-automation-window",
        "approvals",
        "min-age-without-state",
        "verify-with-a-tags-file",
        "after-nobody",
        "nodes-without-cluster",
    ],
)
def test_a_gate_holds_the_site_with_its_reason(
    folder: Path, gate: tuple[str, ...], now: str, reason: str | None
) -> None:
    key = "apiVersion: v1\nkind: Secret\nmetadata: {name: key}\nstringData: {cosign.pub: none}\n"
    objects = (*gate, *([key] if "verify" in gate[0] else []))
    state, why = sites(update(folder, *objects, now=now))["default/web"]
    text = (folder / "web" / "deployment.yaml").read_text()
    if reason is None:
        assert (state, "1.1.0" in text) == ("updated", True)
    else:
        assert (state, "1.1.0" in text) == ("held", False), why
        assert reason in why


@pytest.mark.parametrize(
    ("more", "at", "states"),
    [
        ("suspend: false", "1.1.0", ["current", "current", "held"]),
        ("digestReflectionPolicy: Always", f"1.1.0@{A}", ["current", "current", "held"]),
        ("digestReflectionPolicy: Always", f"1.1.0@{B}", ["held", "current", "held"]),
        ("digestReflectionPolicy: IfNotPresent", f"1.1.0@{B}", ["current", "current", "held"]),
    ],
    ids=["tag", "these-bytes", "other-bytes", "bytes-that-stay"],
)
def test_what_holds_already_what_would_be_written_waits_for_nothing(
    folder: Path, more: str, at: str, states: list[str]
) -> None:
    """A closed window or a Freeze is no news of a site that is where the policy wants it."""
    (folder / "web" / "deployment.yaml").write_text(deployment("web", at))
    (folder / "values.yaml").write_text("new: 1.1.0  # image-policy: web:tag\nold: 1.0.0  # image-policy: web:tag\n")
    tags = {"acme/web": ["1.0.0", {"tag": "1.1.0", "digest": A}]}
    found = update(folder, policy(more=more), FREEZE, tags=tags)["sites"]
    order = [("web/deployment.yaml", 8), ("values.yaml", 1), ("values.yaml", 2)]
    said = {(each["file"], each["line"]): each["state"] for each in found}
    assert [said[place] for place in order] == states


def test_an_automation_that_is_suspended_is_told(folder: Path) -> None:
    report = update(folder, policy(), automation(more="suspend: true"))
    assert report["sites"] == []
    assert [each["reason"] for each in report["problems"]] == [
        "ImageUpdateAutomation default/fleet is suspended: it looks at nothing, and nothing is written"
    ]


@pytest.mark.parametrize("asleep", ["ImageUpdateAutomation", "GitRepository"])
def test_a_url_of_which_all_is_suspended_is_no_mistake(folder: Path, asleep: str) -> None:
    objects = automation(more="suspend: true" if asleep == "ImageUpdateAutomation" else "interval: 1m")
    if asleep == "GitRepository":
        objects = objects.replace("branch: main}}", "branch: main}, suspend: true}")
    (folder.parent / "objects.yaml").write_text(f"{policy()}---\n{objects}")
    arguments = ["update", "https://git.test/fleet.git", "-f", str(folder.parent / "objects.yaml"), "-o", "json"]
    result = CliRunner().invoke(cli, [*arguments, "--cache", str(folder.parent / "cache")], standalone_mode=False)
    assert (result.exception, result.return_value) == (None, 0)
    (problem,) = json.loads(result.stdout)["problems"]
    assert problem["reason"].startswith(f"{asleep} default/fleet is suspended: ")


def test_a_quarantined_tag_gives_way_to_the_next_best(folder: Path) -> None:
    tags = {"acme/web": ["1.0.0", "1.0.5", "1.1.0"]}
    state, why = sites(update(folder, policy(), QUARANTINE, tags=tags))["default/web"]
    assert state == "updated", why
    assert "acme/web:1.0.5" in (folder / "web" / "deployment.yaml").read_text()


def test_an_age_is_kept_in_the_state_file_from_run_to_run(folder: Path) -> None:
    tags = {"acme/web": [{"tag": tag, "digest": f"sha256:{n}" + "0" * 63} for n, tag in enumerate(("1.0.0", "1.1.0"))]}
    state = str(folder.parent / "state.sqlite")
    old = policy(more="minAge: 72h")
    held = sites(update(folder, old, tags=tags, state=state))["default/web"]
    assert held[0] == "held"
    assert "eligible at 2024-05-04T12:00Z" in held[1]
    moved = sites(update(folder, old, tags=tags, state=state, now="2024-05-04T12:00:00Z"))["default/web"]
    assert moved[0] == "updated", moved


def test_a_group_moves_all_of_it_or_nothing(folder: Path) -> None:
    members = (policy(more="group: shop"), policy("api", more="group: shop"))
    common = {"acme/web": ["1.0.0", "1.1.0", "1.2.0"], "acme/api": ["1.0.0", "1.1.0"]}
    api = folder / "api" / "deployment.yaml"
    api.write_text(deployment("api", "1.5.0"))  # newer than what the group may take: this site cannot move
    report = sites(update(folder, *members, tags=common))
    assert [state for state, _ in report.values()] == ["held", "held"]
    assert "group shop moves together" in report["default/web"][1]
    assert "default/api cannot move in api/deployment.yaml" in report["default/web"][1]
    api.write_text(deployment("api", "1.0.0"))
    report = sites(update(folder, *members, tags=common))
    assert [state for state, _ in report.values()] == ["updated", "updated"]
    for name in ("web", "api"):
        assert f"acme/{name}:1.1.0" in (folder / name / "deployment.yaml").read_text()


def test_a_group_that_two_automations_write_is_invalid(folder: Path) -> None:
    labels = "metadata: {name: NAME, labels: {app: NAME}}"
    members = [
        policy(name, more="group: shop").replace(f"metadata: {{name: {name}}}", labels.replace("NAME", name))
        for name in ("web", "api")
    ]
    writers = [automation(name, more=f"policySelector: {{matchLabels: {{app: {name}}}}}") for name in ("web", "api")]
    objects = folder.parent / "objects.yaml"
    objects.write_text("---\n".join([*members, writers[0], writers[1].partition("---\n")[2]]))
    result = CliRunner().invoke(cli, ["update", str(folder), "-f", str(objects)], standalone_mode=False)
    assert result.return_value == 2
    assert "not written by the same automation" in result.output


PROVEN = """\
proven:
  default/staging:
    - {tag: "1.1.0", since: "2024-05-01T11:30:00Z", environment: default/shop}
"""


@pytest.mark.parametrize(
    ("file", "now", "state", "why"),
    [
        (PROVEN, "2024-05-01T13:00:00Z", "updated", ""),
        (PROVEN, "2024-05-01T12:00:00Z", "held", "12:30"),
        ("proven: []\n", NOW, "held", "proven.yaml"),
        (None, NOW, "held", "proven.yaml is not in the branch"),
    ],
    ids=["proven-and-soaked", "soaking", "unreadable", "absent"],
)
def test_a_promotion_reads_what_was_proven_from_the_planned_tree(
    folder: Path, file: str | None, now: str, state: str, why: str
) -> None:
    if file is not None:
        (folder / "proven.yaml").write_text(file)
    more = "after: {name: staging, soak: 1h, provenFile: proven.yaml}"
    found = sites(update(folder, policy(more=more), now=now))["default/web"]
    assert found[0] == state, found
    assert why in found[1]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registries.RealRegistry]:
    with registries.running("debian", tmp_path_factory.mktemp("registry")) as server:
        yield server


def test_a_tag_whose_layer_a_real_registry_has_lost_is_not_written_until_it_is_back(
    folder: Path, registry: registries.RealRegistry
) -> None:
    push_image(registry, "acme/web", "1.1.0")
    (folder / "web" / "deployment.yaml").write_text(
        deployment("web", "1.0.0").replace("acme/web", f"{registry.host}/acme/web")
    )
    (folder / "api" / "deployment.yaml").unlink()
    accept = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
    manifest = json.loads(registries.request("GET", f"{registry.url}/v2/acme/web/manifests/1.1.0", headers=accept)[2])
    layer = manifest["layers"][0]["digest"].removeprefix("sha256:")
    data = registry.root / "docker/registry/v2/blobs/sha256" / layer[:2] / layer / "data"
    content = data.read_bytes()
    data.unlink()
    strict = policy(more="insecure: true", host=f"{registry.host}/")
    state, why = sites(update(folder, strict, tags=None))["default/web"]
    assert (state, f"layer sha256:{layer} answers 404" in why) == ("held", True), why
    lax = policy(more="{insecure: true, preflight: false}", host=f"{registry.host}/").replace(
        "  {insecure: true, preflight: false}", "  insecure: true\n  preflight: false"
    )
    before = (folder / "web" / "deployment.yaml").read_text()
    assert sites(update(folder, lax, tags=None))["default/web"][0] == "updated"
    (folder / "web" / "deployment.yaml").write_text(before)
    data.write_bytes(content)
    assert sites(update(folder, strict, tags=None))["default/web"][0] == "updated"


def test_what_a_person_put_into_quarantine_does_not_stay(folder: Path) -> None:
    (folder / "web" / "deployment.yaml").write_text(deployment("web", "1.1.0"))
    (made,) = update(folder, policy(), QUARANTINE)["sites"][-1:]
    assert made["state"] == "updated"
    assert made["reason"].startswith(
        "1.1.0 is quarantined by Quarantine default/web: crash loop; down to 1.0.0, the best that is left"
    )
    assert "acme/web:1.0.0" in (folder / "web" / "deployment.yaml").read_text()
    # A better one that is good is written instead, and what nobody quarantined stays.
    tags = {"acme/web": ["1.0.0", "1.1.0", "1.2.0"], "acme/api": ["0.9.0"]}
    files = {each["file"]: each for each in update(folder, policy(), policy("api"), QUARANTINE, tags=tags)["sites"]}
    assert files["web/deployment.yaml"]["reason"].startswith("1.2.0 is newer than 1.0.0")
    assert files["api/deployment.yaml"]["state"] == "held"


def test_a_group_goes_down_together_from_what_a_person_put_into_quarantine(folder: Path) -> None:
    for name in ("web", "api"):
        (folder / name / "deployment.yaml").write_text(deployment(name, "1.1.0"))
    members = (policy(more="group: shop"), policy("api", more="group: shop"))
    files = {each["file"]: each for each in update(folder, *members, QUARANTINE)["sites"]}
    assert {each["state"] for each in files.values()} == {"updated"}
    assert files["api/deployment.yaml"]["reason"].startswith(
        "1.1.0 is quarantined by Quarantine default/web: crash loop for default/web of its group; down to 1.0.0"
    )
    assert "acme/api:1.0.0" in (folder / "api" / "deployment.yaml").read_text()
    # A member that holds another tag has nothing to do with it.
    (folder / "web" / "deployment.yaml").write_text(deployment("web", "1.1.0"))
    (folder / "api" / "deployment.yaml").write_text(deployment("api", "1.0.0"))
    files = {each["file"]: each for each in update(folder, *members, QUARANTINE)["sites"]}
    assert {file: each["state"] for file, each in files.items()} == {
        "web/deployment.yaml": "updated",
        "api/deployment.yaml": "current",
    }


def test_a_quarantine_takes_nothing_down_where_nothing_is_left_or_a_freeze_stands(folder: Path) -> None:
    (folder / "web" / "deployment.yaml").write_text(deployment("web", "1.1.0"))
    only = {"acme/web": ["1.1.0"]}
    for objects, tags in (((policy(), QUARANTINE), only), ((policy(), QUARANTINE, FREEZE), TAGS)):
        report = update(folder, *objects, tags=tags)
        assert not report["changed"]
        assert "1.1.0 is quarantined by Quarantine default/web" in str(report["sites"])


def test_what_people_ask_through_the_state_file_binds_a_single_run(folder: Path) -> None:
    state = str(folder.parent / "state.sqlite")

    def ask(*arguments: str) -> str:
        result = CliRunner().invoke(cli, [*arguments, "--state", state], standalone_mode=False)
        assert (result.exception, result.return_value) == (None, 0)
        return result.stdout

    def web(tags: list[str]) -> dict[str, Any]:
        sites = update(folder, policy(), tags={"acme/web": tags}, state=state)["sites"]
        found: dict[str, Any] = next(each for each in sites if each["file"] == "web/deployment.yaml")
        return found

    assert web(["1.0.0"])["state"] == "current"
    assert "1.0.0 stays chosen" in ask("hold", "web", "--reason", "the queue is full", "--by", "ann")
    assert (
        web(["1.0.0", "1.1.0"])["reason"]
        == "1.1.0 would win, but it is held by ann: the queue is full (resume ends it)"
    )
    ask("resume", "web")
    ask("deny", "web", "1.1.0")
    assert web(["1.0.0", "1.1.0"])["state"] == "current"
    ask("deny", "web", "1.1.0", "--undo")
    assert web(["1.0.0", "1.1.0"])["state"] == "updated"
