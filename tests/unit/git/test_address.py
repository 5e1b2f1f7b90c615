"""A place in a YAML file, named by names, and what two versions of the file tell without being parsed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater.git.address import (
    Place,
    Role,
    Value,
    Version,
    alike,
    carried,
    entry_field,
    field_at,
    lacks,
    moved,
    read,
    renamed,
    substituted,
)

FILE = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: first}
---
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    spec:
      containers:
        - name: proxy
          image: acme/proxy:1.0
        - name: web
          image: acme/web:1.0@sha256:abc
"""
IMAGE = ("spec", "template", "spec", "containers", 1, "image")


def version(text: str) -> Version:
    return Version(text.encode())


def place(text: str = FILE, path: tuple[str | int, ...] = IMAGE, role: Role = Role.IMAGE, document: int = 1) -> Place:
    return Place((field_at(version(text), role, document, path),))


def value(text: str, where: Place) -> Value | None:
    found = read(version(text), where)
    assert found is not None
    return found.value if found.exact else None


SIDECAR = "        - name: proxy\n          image: acme/proxy:1.0\n"


@pytest.mark.parametrize(
    "text",
    [
        FILE,
        FILE.replace(SIDECAR, "") + SIDECAR,
        FILE.partition("---\n")[2],
        FILE.partition("---\n")[2] + "---\n" + FILE.partition("---\n")[0],
        FILE.replace("      containers:", "      initContainers: []\n      containers:"),
        FILE.replace("\n", "\r\n"),
    ],
    ids=["as-it-was", "other-order", "fewer-documents", "documents-swapped", "moved-down", "other-line-ends"],
)
def test_a_container_is_found_by_its_names(text: str) -> None:
    assert value(text, place()) == Value("1.0", "sha256:abc")


def test_an_offset_tells_the_document_where_numbers_do_not() -> None:
    where = field_at(version(FILE), Role.IMAGE, 0, IMAGE, offset=FILE.index("acme/web"))
    assert where.identity == ("Deployment", "shop", "web")


def test_a_container_of_another_name_is_another_one() -> None:
    assert value(FILE.replace("name: web\n          image", "name: app\n          image"), place()) is None
    assert value(FILE.replace("name: web, namespace", "name: api, namespace"), place()) is None


def test_what_only_has_another_name_is_the_same_by_its_position() -> None:
    older = FILE.replace("name: web\n          image", "name: app\n          image")
    there = renamed(version(FILE), version(older), place())
    assert there is not None
    assert value(older, there) == Value("1.0", "sha256:abc")
    swapped = FILE.replace("name: web\n          image", "name: proxy\n          image")
    assert renamed(version(FILE), version(swapped), place()) is None, "that name is another's"


KUSTOMIZATION = """\
resources: [../base]
images:
  - name: acme/api
    newTag: "3"
  - name: acme/web
    newTag: '1.2'
    digest: ""
patches:
  - patch: |-
      kind: Deployment
      metadata: {name: any}
      spec: {template: {spec: {containers: [{name: web, image: acme/web:7}]}}}
configMapGenerator:
  - name: tags
    literals: [WEB=acme/web:5]
args: [--tag=4]
"""


@pytest.mark.parametrize(
    ("path", "role", "expected"),
    [
        (("images", 1, "newTag"), Role.TAG, Value("1.2")),
        (("images", 1, "digest"), Role.DIGEST, Value()),
        (("images", 1, "newName"), Role.NAME, None),
        (("patches", 0, "patch", "spec", "template", "spec", "containers", 0, "image"), Role.IMAGE, Value("7")),
        (("configMapGenerator", 0, "literals", 0), Role.IMAGE, Value("5")),
        (("args", 0), Role.TAG, Value("4")),
    ],
)
def test_every_form_of_a_value_is_read(path: tuple[str | int, ...], role: Role, expected: Value | None) -> None:
    assert value(KUSTOMIZATION, place(KUSTOMIZATION, path, role, 0)) == expected


@pytest.mark.parametrize("text", ["https://git.test/base?ref=v1.2", "git.test/base//x?timeout=3&ref=v1.2&depth=1"])
def test_the_ref_of_a_remote_base_is_its_tag(text: str) -> None:
    file = f"resources:\n  - {text}\n"
    where = place(file, ("resources", 0), Role.REF, 0)
    assert value(file, where) == Value("v1.2")
    assert value(file.replace("v1.2", "v1.1"), where) == Value("v1.1")


def test_an_entry_need_not_be_there() -> None:
    where = Place((entry_field(version(KUSTOMIZATION), Role.TAG, 0, ("images",), "acme/new", "newTag"),))
    assert value(KUSTOMIZATION, where) is None
    assert lacks(version(KUSTOMIZATION), where)
    with_it = KUSTOMIZATION.replace("  - name: acme/api", "  - {name: acme/new, newTag: '9'}\n  - name: acme/api")
    assert not lacks(version(with_it), where)
    assert value(with_it, where) == Value("9")


def test_what_is_no_yaml_has_no_value() -> None:
    assert read(version("a: [1\n"), place()) is None
    assert read(Version(b"\xff\xfe"), place()) is None


# ------------------------------------------------------------------------------------------------- without parsing

WORDS = st.sampled_from(["1.0", "1.1", "2.0.0", "latest", "'1.0'", '"1.1"', "", "1.0 # why", "&a 1.0", "[1]"])
HEADS = st.sampled_from(["", "# a comment\n", "resources: []\n", "# a\n# b\n"])
TAILS = st.sampled_from(["", "patches: []\n", "# the end\n", "  - {name: acme/more, newTag: '1.0'}\n"])


def text_of(head: str, one: str, other: str, tail: str) -> str:
    return f"{head}images:\n  - name: acme/api\n    newTag: {one}\n  - name: acme/web\n    newTag: {other}\n{tail}"


TEXTS = st.builds(text_of, HEADS, WORDS, WORDS, TAILS)


@given(newer=TEXTS, older=TEXTS)
def test_what_is_told_without_parsing_is_what_parsing_tells(newer: str, older: str) -> None:
    new, old = version(newer), version(older)
    where = place(newer, ("images", 1, "newTag"), Role.TAG, 0)
    reading = read(new, where)
    truth = read(old, where)
    if reading is None or truth is None or reading.span is None:
        return
    common = alike(newer, older)
    span = carried(reading.span, common, len(newer), len(older))
    told = moved(reading, span) if span is not None else substituted(reading, newer, older, common)
    if told is not None:
        assert told.value == truth.value
        assert told.scalars == truth.scalars
        assert told.texts == truth.texts
