"""Digests in all combinations: what a policy's digest setting makes of what stands there (design sections 5, 7, 10)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.sites.harness import WEB, A, B, C, deployment, policy, update

KNOWN = [{"tag": "1.0.0", "digest": A}, {"tag": "1.2.0", "digest": C}, {"tag": "2.0.0", "digest": B}]
LATEST = policy(strategy="digest: {tag: latest}")


@pytest.mark.parametrize(
    ("before", "never", "absent", "always"),
    [
        (":1.0.0", ":1.2.0", f":1.2.0@{C}", f":1.2.0@{C}"),
        (":1.2.0", ":1.2.0", f":1.2.0@{C}", f":1.2.0@{C}"),
        (f":1.0.0@{A}", ":1.2.0", f":1.2.0@{C}", f":1.2.0@{C}"),
        (f":1.2.0@{A}", ":1.2.0", f":1.2.0@{A}", f":1.2.0@{C}"),
        (f":1.2.0@{C}", ":1.2.0", f":1.2.0@{C}", f":1.2.0@{C}"),
        ("", ":1.2.0", f":1.2.0@{C}", f":1.2.0@{C}"),
        (f"@{A}", ":1.2.0", f":1.2.0@{C}", f":1.2.0@{C}"),
        (":2.0.0", ":2.0.0", ":2.0.0", ":2.0.0"),
        (f":2.0.0@{B}", f":2.0.0@{B}", f":2.0.0@{B}", f":2.0.0@{B}"),
    ],
)
def test_the_setting_decides(before: str, never: str, absent: str, always: str, tmp_path: Path) -> None:
    for setting, after in (("Never", never), ("IfNotPresent", absent), ("Always", always)):
        objects = policy(more=f"  digestReflectionPolicy: {setting}\n")
        outcome = update(tmp_path / setting, {"d.yaml": deployment(WEB + before)}, objects=objects, tags=KNOWN)
        assert outcome.files["d.yaml"].decode() == deployment(WEB + after), setting
        state = "held" if before.startswith(":2") else "current" if before == after else "updated"
        assert outcome.site("d.yaml", 12)["state"] == state


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (":latest", f":latest@{C}"),
        (f":latest@{A}", f":latest@{C}"),
        (f":latest@{C}", f":latest@{C}"),
        (f"@{A}", f"@{C}"),
        (":1.0.0", f":latest@{C}"),
    ],
)
def test_a_mutable_tag_is_followed_by_its_digest(before: str, after: str, tmp_path: Path) -> None:
    tags = [{"tag": "latest", "digest": C}]
    outcome = update(tmp_path, {"d.yaml": deployment(WEB + before)}, objects=LATEST, tags=tags)
    assert outcome.files["d.yaml"].decode() == deployment(WEB + after)


def test_an_entry_gets_and_moves_its_digest_alone(tmp_path: Path) -> None:
    head = f"resources: [deploy.yaml]\nimages:\n- name: {WEB}\n"
    tags = [{"tag": "latest", "digest": C}]
    for place, before, after in (
        ("add", "  newTag: latest\n", f"  newTag: latest\n  digest: {C}\n"),
        ("move", f"  digest: {A}\n", f"  digest: {C}\n"),
    ):
        files = {"kustomization.yaml": head + before, "deploy.yaml": deployment()}
        outcome = update(tmp_path / place, files, objects=LATEST, tags=tags)
        assert outcome.files["kustomization.yaml"].decode() == head + after


def test_without_a_known_digest_nothing_is_written(tmp_path: Path) -> None:
    objects = policy(more="  digestReflectionPolicy: Always\n")
    outcome = update(tmp_path, {"d.yaml": deployment()}, objects=objects)
    assert outcome.site("d.yaml", 12)["state"] == "held"
    assert outcome.report["edits"] == []
