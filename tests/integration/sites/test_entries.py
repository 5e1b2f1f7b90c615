"""Entries of `images:` in every order and style: which scalars change, which keys come and go (design 6, 7, 10)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.sites.harness import ALWAYS, PINNED, POLICY, TAGS, WEB, A, B, C, deployment, policy, rows, update

LOOSE = policy(strategy="semver: {range: '>=1', loose: true}")
BYTES = policy(strategy="alphabetical: {order: asc}", more="  allowDowngrade: true\n")
HEAD = "resources: [deploy.yaml]\n"

CASES = {
    "tag-alone": (f"images:\n- name: {WEB}\n  newTag: 1.0.0\n", f"images:\n- name: {WEB}\n  newTag: 1.2.0\n"),
    "single-quotes-stay": (
        f"images:\n- name: {WEB}\n  newTag: '1.0.0'   \t# c\n",
        f"images:\n- name: {WEB}\n  newTag: '1.2.0'   \t# c\n",
    ),
    "digest-goes-as-the-first-key": (
        f"images:\n- digest: {A}\n  newTag: 1.0.0\n  newName: {WEB}\n  name: {WEB}\n",
        f"images:\n- newTag: 1.2.0\n  newName: {WEB}\n  name: {WEB}\n",
    ),
    "digest-goes-as-the-first-key-of-a-wide-item": (
        f"images:\n  -   digest: {A}\n      name: {WEB}\n      newTag: 1.0.0\n",
        f"images:\n  -   name: {WEB}\n      newTag: 1.2.0\n",
    ),
    "digest-goes-as-the-last-line-without-a-break": (
        f"images:\n- name: {WEB}\n  newTag: 1.0.0\n  digest: {A}",
        f"images:\n- name: {WEB}\n  newTag: 1.2.0",
    ),
    "digest-goes-as-the-last-line": (
        f"images:\n- name: {WEB}\n  newTag: 1.0.0\n  digest: {A}\n",
        f"images:\n- name: {WEB}\n  newTag: 1.2.0\n",
    ),
    "digest-goes-with-crlf": (
        f"images:\r\n- name: {WEB}\r\n  newTag: 1.0.0\r\n  digest: {A}\r\n",
        f"images:\r\n- name: {WEB}\r\n  newTag: 1.2.0\r\n",
    ),
    "digest-goes-from-the-middle-comments-around-stay": (
        f"images:\n- name: {WEB}\n  # the digest\n  digest: {A} # trailing\n  # the tag\n  newTag: 1.0.0\n",
        f"images:\n- name: {WEB}\n  # the digest\n  # the tag\n  newTag: 1.2.0\n",
    ),
    "digest-goes-from-flow-end": (
        f"images: [{{name: {WEB}, newTag: 1.0.0, digest: '{A}'}}]\n",
        f"images: [{{name: {WEB}, newTag: 1.2.0}}]\n",
    ),
    "digest-goes-from-flow-start": (
        f"images: [{{digest: '{A}', name: {WEB}, newTag: 1.0.0}}]\n",
        f"images: [{{name: {WEB}, newTag: 1.2.0}}]\n",
    ),
    "digest-goes-from-flow-over-lines": (
        f"images: [\n  {{\n    name: {WEB},\n    digest: '{A}',\n    newTag: 1.0.0,\n  }},\n]\n",
        f"images: [\n  {{\n    name: {WEB},\n    newTag: 1.2.0,\n  }},\n]\n",
    ),
    "digest-alone-becomes-a-tag": (
        f"images:\n- name: {WEB}\n  digest: {A}\n",
        f"images:\n- name: {WEB}\n  newTag: 1.2.0\n",
    ),
    "an-empty-digest-says-nothing-and-stays": (
        f"images:\n- name: {WEB}\n  newTag: 1.0.0\n  digest: ''\n",
        f"images:\n- name: {WEB}\n  newTag: 1.2.0\n  digest: ''\n",
    ),
    "tag-at-digest-loses-its-digest-in-one-field": (
        f"images:\n- name: {WEB}\n  newTag: 1.0.0@{A}\n",
        f"images:\n- name: {WEB}\n  newTag: 1.2.0\n",
    ),
    "the-last-of-two-entries": (
        f"images:\n- name: {WEB}\n  newTag: 1.0.0\n- name: {WEB}\n  newTag: 1.0.0\n",
        f"images:\n- name: {WEB}\n  newTag: 1.0.0\n- name: {WEB}\n  newTag: 1.2.0\n",
    ),
    "a-closing-marker": (
        f"images:\n- name: {WEB}\n  newTag: 1.0.0\n...\n",
        f"images:\n- name: {WEB}\n  newTag: 1.2.0\n...\n",
    ),
    "an-anchor-with-its-only-use": (
        f"images:\n- name: {WEB}\n  newTag: &tag 1.0.0\n",
        f"images:\n- name: {WEB}\n  newTag: &tag 1.2.0\n",
    ),
    "a-regular-expression-as-name": (
        "images:\n- name: ghcr.io/acme/.*\n  newTag: 1.0.0\n",
        "images:\n- name: ghcr.io/acme/.*\n  newTag: 1.2.0\n",
    ),
    "keys-in-quotes": (
        f'"images":\n- \'name\': {WEB}\n  "newTag": "1.0.0"\n',
        f'"images":\n- \'name\': {WEB}\n  "newTag": "1.2.0"\n',
    ),
    "legacy-image-tags": (
        f"imageTags:\n- name: {WEB}\n  newTag: 1.0.0\n",
        f"imageTags:\n- name: {WEB}\n  newTag: 1.2.0\n",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_entry_gets_the_tag(name: str, tmp_path: Path) -> None:
    before, after = CASES[name]
    files = {"kustomization.yaml": HEAD + before, "deploy.yaml": deployment()}
    outcome = update(tmp_path, files)
    assert outcome.files["kustomization.yaml"].decode() == HEAD + after
    assert outcome.files["deploy.yaml"].decode() == files["deploy.yaml"]
    assert outcome.code == 0


ALWAYS_CASES = {
    "a-digest-comes-behind-the-tag": (
        f"images:\n- name: {WEB}\n  newTag: 1.0.0",
        f"images:\n- name: {WEB}\n  newTag: 1.2.0\n  digest: {C}",
    ),
    "in-flow-style-too": (
        f"images: [{{name: {WEB}, newTag: 1.0.0}}]",
        f"images: [{{name: {WEB}, newTag: 1.2.0, digest: {C}}}]",
    ),
    "a-digest-alone-gets-its-tag": (
        f"images:\n- name: {WEB}\n  digest: {A}\n",
        f"images:\n- name: {WEB}\n  newTag: 1.2.0\n  digest: {C}\n",
    ),
    "both-move": (
        f"images:\n- name: {WEB}\n  digest: {A}\n  newTag: 1.0.0\n",
        f"images:\n- name: {WEB}\n  digest: {C}\n  newTag: 1.2.0\n",
    ),
    "tag-at-digest-stays-one-field": (
        f"images:\n- name: {WEB}\n  newTag: 1.0.0@{A}\n",
        f"images:\n- name: {WEB}\n  newTag: 1.2.0@{C}\n",
    ),
    "an-empty-digest-is-filled": (
        f"images:\n- name: {WEB}\n  newTag: 1.0.0\n  digest: ''\n",
        f"images:\n- name: {WEB}\n  newTag: 1.2.0\n  digest: '{C}'\n",
    ),
    "a-re-pushed-tag-moves-its-digest-alone": (
        f"images:\n- name: {WEB}\n  newTag: 1.2.0\n  digest: {B}\n",
        f"images:\n- name: {WEB}\n  newTag: 1.2.0\n  digest: {C}\n",
    ),
}


@pytest.mark.parametrize("name", ALWAYS_CASES)
def test_digests_are_written_where_the_policy_says_so(name: str, tmp_path: Path) -> None:
    before, after = ALWAYS_CASES[name]
    files = {"kustomization.yaml": HEAD + before, "deploy.yaml": deployment()}
    outcome = update(tmp_path, files, objects=ALWAYS, tags=PINNED)
    assert outcome.files["kustomization.yaml"].decode() == HEAD + after


@pytest.mark.parametrize(
    ("before", "after", "tags", "objects"),
    [
        ("v1.1", '"1.10"', ["v1.1", "1.10", "1.2"], LOOSE),
        ("'v1.1'", "'1.10'", ["v1.1", "1.10", "1.2"], LOOSE),
        ("1.1", '"1.10"', ["1.1", "1.10", "1.2"], LOOSE),
        ("v1", '"0x1F"', ["0x1F"], BYTES),
        ("v1", '"1e5"', ["1e5"], BYTES),
        ("v1", '"012"', ["012"], policy(strategy="numerical: {order: asc}")),
        ("v1", '"20240101"', ["20240101"], policy(strategy="numerical: {order: asc}")),
        ("v1", '"2024-01-01"', ["2024-01-01"], BYTES),
        ("v1", '"on"', ["on"], BYTES),
        ("v1", '"true"', ["true"], BYTES),
        ("v1", '"null"', ["null"], BYTES),
        ("v1", '"1_000"', ["1_000"], BYTES),
        ("v1", "main-0a1b2c", ["main-0a1b2c"], BYTES),
    ],
)
def test_what_yaml_would_not_read_as_text_gets_double_quotes(
    before: str, after: str, tags: list[str], objects: str, tmp_path: Path
) -> None:
    entry = f"images:\n- name: {WEB}\n  newTag: "
    files = {"kustomization.yaml": f"{HEAD}{entry}{before}\n", "deploy.yaml": deployment()}
    outcome = update(tmp_path, files, objects=objects, tags=tags)
    assert outcome.files["kustomization.yaml"].decode() == f"{HEAD}{entry}{after}\n"


def test_an_unquoted_number_that_is_right_is_fixed_by_its_quotes(tmp_path: Path) -> None:
    files = {"kustomization.yaml": f"{HEAD}images:\n- name: {WEB}\n  newTag: 1.0\n", "deploy.yaml": deployment()}
    outcome = update(tmp_path, files, objects=LOOSE, tags=["1.0", "1.10"])
    assert outcome.files["kustomization.yaml"].endswith(b'newTag: "1.10"\n')


REFUSED = {
    "a-digest-as-tag": (f"images:\n- name: {WEB}\n  newTag: {A}\n", 4),
    "a-digest-without-its-algorithm": (f"images:\n- name: {WEB}\n  newTag: 1.0.0\n  digest: {'a' * 64}\n", 4),
    "a-suffix": (f"images:\n- name: {WEB}\n  newTag: 1.0.0\n  tagSuffix: -x\n", 4),
    "a-block-scalar": (f"images:\n- name: {WEB}\n  newTag: |-\n    1.0.0\n", 4),
    "an-alias-that-another-entry-uses": (
        f"images:\n- name: {WEB}\n  newTag: &t 1.0.0\n- name: redis\n  newTag: *t\n",
        4,
    ),
    "a-merge-key-that-another-entry-uses": (
        f"images:\n- &e\n  name: {WEB}\n  newTag: 1.0.0\n- <<: *e\n  name: redis\n",
        5,
    ),
    "a-variable": (f"images:\n- name: {WEB}\n  newTag: ${{TAG}}\n", 4),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_entry_is_left_with_a_reason(name: str, tmp_path: Path) -> None:
    entry, line = REFUSED[name]
    files = {"kustomization.yaml": HEAD + entry, "deploy.yaml": deployment()}
    outcome = update(tmp_path, files)
    assert outcome.report["edits"] == []
    states = [site["state"] for site in outcome.report["sites"] if site["line"] == line and site["policy"]]
    assert states == ["refused"], outcome.report["sites"]
    assert outcome.code == 0


@pytest.mark.parametrize("entry", ["", "images: []\n", "images:\n", "images: null\n", f"images: [{{name: {WEB}}}]\n"])
def test_without_an_entry_that_sets_a_tag_the_manifest_is_edited(entry: str, tmp_path: Path) -> None:
    files = {"kustomization.yaml": HEAD + entry, "deploy.yaml": deployment()}
    outcome = update(tmp_path, files)
    assert outcome.files == {
        "kustomization.yaml": (HEAD + entry).encode(),
        "deploy.yaml": deployment(f"{WEB}:1.2.0").encode(),
    }


def test_edits_say_line_field_old_and_new(tmp_path: Path) -> None:
    files = {
        "kustomization.yaml": f"{HEAD}images:\n- digest: {A}\n  newTag: 1.0.0\n  name: {WEB}\n",
        "deploy.yaml": deployment(),
    }
    outcome = update(tmp_path, files)
    assert rows(outcome) == [
        ("kustomization.yaml", 3, "images[0].digest", A, None, "remove"),
        ("kustomization.yaml", 4, "images[0].newTag", "1.0.0", "1.2.0", "scalar"),
    ]
    site = outcome.site("kustomization.yaml", 4)
    assert (site["field"], site["image"], site["policy"], site["roots"]) == (
        "images[0].newTag",
        f"{WEB}:1.0.0@{A}",
        "default/web",
        ["."],
    )


def test_a_chain_of_renames_is_followed_up_four_levels(tmp_path: Path) -> None:
    files = {
        "l0/kustomization.yaml": HEAD,
        "l0/deploy.yaml": deployment(),
        "l1/kustomization.yaml": "resources: [../l0]\nnamePrefix: a-\n",
        "l2/kustomization.yaml": f"resources: [../l1]\nimages: [{{name: {WEB}, newName: m.io/web}}]\n",
        "l3/kustomization.yaml": "resources: [../l2]\nimages: [{name: m.io/web, newTag: 1.0.0}]\n",
        "l4/kustomization.yaml": "resources: [../l3]\nnamespace: x\n",
        "m4/kustomization.yaml": "resources: [../l3]\nnamespace: z\n",
    }
    outcome = update(tmp_path, files, objects=policy("m.io/web"))
    assert rows(outcome) == [("l3/kustomization.yaml", 2, "images[0].newTag", "1.0.0", "1.2.0", "scalar")]
    assert outcome.site("l3/kustomization.yaml", 2)["roots"] == ["l4", "m4"]


def test_the_name_before_a_rename_is_no_image_of_the_policy(tmp_path: Path) -> None:
    files = {
        "kustomization.yaml": f"{HEAD}images:\n- name: {WEB}\n  newName: mirror.example.com/web\n  newTag: 1.0.0\n",
        "deploy.yaml": deployment(),
    }
    assert update(tmp_path, files, objects=POLICY, tags=TAGS).report["edits"] == []
