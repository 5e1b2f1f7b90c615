"""Generated repositories under random policies, through the whole `update`: the real Kustomize has the last word.

What differs between the renders before and after is what was claimed, and nothing else; roots outside the scope render
the same bytes; what is claimed and did not move has a row that says why; a second run finds nothing; and of the files
no line differs that no edit names.
"""

from __future__ import annotations

import difflib
import json
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from image_updater.images import parse_name
from image_updater.images.names import split
from tests.integration.kustomize.harness import build, commands, images
from tests.integration.kustomize.repositories import NAMES, Repository, repositories
from tests.integration.sites.harness import SOURCE, automation, check_report, lay, policy, read, run

TAGS = ("1.0", "1.10", "main-0a1b2c", "v2", "v3")
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""A failure shows its repository; making it smaller takes minutes."""
DIGEST = "sha256:" + "c" * 64


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, dict[str, Any], dict[str, tuple[str, bool]], list[str]]:
    """The objects, the tags, what each image is to become (tag, with its digest?), and the paths."""
    chosen: dict[str, tuple[str, bool]] = {}
    texts, tags = [], {}
    for i, name in enumerate(draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))):
        have = draw(st.lists(st.sampled_from(TAGS), min_size=1, unique=True))
        digest = draw(st.sampled_from([False, False, True]))
        more = "  allowDowngrade: true\n" + ("  digestReflectionPolicy: Always\n" if digest else "")
        texts.append(policy(name, name=f"p{i}", strategy="alphabetical: {order: asc}", more=more))
        tags[name] = [{"tag": tag, "digest": DIGEST} for tag in have]
        chosen[parse_name(name).canonical] = (max(have), digest)
    paths = draw(st.sampled_from([[], [], ["over0"], ["over0", "base"], ["over1", "mid", "base", "comp0"]]))
    update = f"paths: {json.dumps(paths)}, patches: {json.dumps(draw(st.booleans()))}"
    update += draw(st.sampled_from(["", ", proof: rendered"]))
    return "---\n".join(texts) + SOURCE + automation(update), tags, chosen, paths


def wanted(value: str, chosen: dict[str, tuple[str, bool]]) -> str | None:
    name = split(value)[0]
    choice = chosen.get(parse_name(name).canonical)
    if choice is None:
        return None
    return f"{name}:{choice[0]}" + (f"@{DIGEST}" if choice[1] else "")


def masked(objects: list[Any]) -> list[Any]:
    """The objects without images and what a replacement feeds them from."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: "…" if key in ("image", "tag", "extra") else walk(item) for key, item in value.items()}
        return [walk(item) for item in value] if isinstance(value, list) else value

    return [walk(item) for item in objects]


@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None, phases=PHASES)
@given(repositories(), questions())
def test_only_what_is_claimed_moves(
    repository: tuple[Repository, list[str]],
    question: tuple[str, dict[str, Any], dict[str, tuple[str, bool]], list[str]],
) -> None:
    (files, roots), (objects, tags, chosen, paths) = repository, question
    command = commands()["5.5"]
    with tempfile.TemporaryDirectory() as place:
        top = Path(place)
        folder = lay(top / "repository", files)
        (top / "objects.yaml").write_text(objects)
        (top / "tags.json").write_text(json.dumps(tags))
        common = [
            "update",
            str(folder),
            "-f",
            str(top / "objects.yaml"),
            "--tags",
            str(top / "tags.json"),
            "-o",
            "json",
        ]
        code, out, _ = run(*common, "--write")
        assert code == 0
        report = json.loads(out)
        check_report(report)
        after = {name: data.decode() for name, data in read(folder).items()}
        code, again, _ = run(*common)
        assert (code, json.loads(again)["edits"]) == (0, [])
    assert set(after) == set(files)
    check_lines(files, after, report)
    for root in roots:
        old, new = build(files, root, command), build(after, root, command)
        if old is None:
            continue
        assert new is not None, root
        check_root(root, old, new, report, chosen, covered=not paths or root in paths)


def check_root(
    root: str,
    old: list[Any],
    new: list[Any],
    report: dict[str, Any],
    chosen: dict[str, tuple[str, bool]],
    *,
    covered: bool,
) -> None:
    assert masked(old) == masked(new)
    if not covered:
        assert old == new, root
        return
    before, now = images(old), images(new)
    moved = {image[:4]: image[4] for image in (before - now)}
    for image in now - before:
        assert image[4] == wanted(moved[image[:4]], chosen), (root, moved[image[:4]], image)
    left = [image[4] for image in now if wanted(image[4], chosen) not in (None, image[4]) and image[:4] not in moved]
    told = any(root in site["roots"] and site["state"] not in ("current", "updated") for site in report["sites"])
    assert told or not left, (root, left, report["sites"])


def check_lines(before: dict[str, str], after: dict[str, str], report: dict[str, Any]) -> None:
    for name, text in after.items():
        if text == before[name]:
            continue
        edits = [edit for edit in report["edits"] if edit["file"] == name]
        changes = list(difflib.ndiff(before[name].splitlines(), text.splitlines()))
        gone = sum(line.startswith("- ") for line in changes)
        assert gone <= len(edits), (name, edits)
        if not any(edit["kind"] == "insert" for edit in edits):
            assert sum(line.startswith("+ ") for line in changes) <= gone
        assert list(yaml.safe_load_all(text)) != list(yaml.safe_load_all(before[name])) or any(
            edit["old"] == edit["new"] for edit in edits
        )
