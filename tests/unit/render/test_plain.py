"""Plain manifests render to their own documents, in order, without a binary."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from image_updater.render import Renderer
from image_updater.render.plain import concatenate
from tests.parts.trees import MemoryTree, plain_root

JOB = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: NAME}\n"


def job(name: str) -> str:
    return JOB.replace("NAME", name)


def names(manifests: bytes) -> list[str]:
    return [document["metadata"]["name"] for document in yaml.safe_load_all(manifests)]


def render(files: dict[str, str | bytes]) -> bytes:
    tree = MemoryTree(files)
    return concatenate(tree, plain_root(".", tree))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (job("a"), ["a"]),
        (job("a").rstrip("\n"), ["a"]),
        ("---\n" + job("a"), ["a"]),
        ("--- # first\n" + job("a") + "---\n" + job("b"), ["a", "b"]),
        (job("a") + "---\n---\n" + job("b"), ["a", "b"]),
        (job("a") + "...\n", ["a"]),
        (job("a") + "...\n---\n" + job("b") + "...\n", ["a", "b"]),
        ("%YAML 1.1\n---\n" + job("a"), ["a"]),
        ("\ufeff" + job("a"), ["a"]),
        ("# what this is\n\n" + job("a"), ["a"]),
        (job("a").replace("\n", "\r\n"), ["a"]),
        ("  apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n", ["a"]),
        ('{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}', ["a"]),
        ("replicas: 2\nimage: web\n", []),
        ("", []),
        ("{{ if .Values.on }}\n" + job("a") + "{{ end }}\n", []),
        (job("a") + "---\nreplicas: 2\n", ["a"]),
    ],
    ids=[
        "one",
        "no final newline",
        "explicit start",
        "two with a comment at the start",
        "an empty one between",
        "explicit end",
        "explicit ends and starts",
        "a directive",
        "a byte order mark",
        "leading comments",
        "CRLF",
        "indented",
        "JSON",
        "no object",
        "an empty file",
        "a template that is no YAML",
        "an object beside something else",
    ],
)
def test_a_file_yields_its_objects(text: str, expected: list[str]) -> None:
    before, after = job("before"), job("after")
    assert names(render({"a.yaml": before, "b.yaml": text, "c.yaml": after})) == ["before", *expected, "after"]


def test_files_come_in_the_order_of_their_paths_and_others_are_left_out() -> None:
    tree = MemoryTree(
        {
            "z.yaml": job("z"),
            "a/b.yml": job("ab"),
            "README.md": job("readme"),
            "a.json": '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "json"}}',
            "bad.yaml": b"\xff\xfe",
        },
        symlinks={"link.yaml": "z.yaml"},
    )
    assert names(concatenate(tree, plain_root(".", tree))) == ["json", "ab", "z"]


def test_a_list_is_an_object() -> None:
    assert yaml.safe_load(render({"a.yaml": "- " + job("a").replace("\n", "\n  ")})) == [yaml.safe_load(job("a"))]


def test_a_kept_trailing_newline_of_a_block_scalar_stays() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  a: |+\n    x\n\n\n"
    assert [d.get("data") for d in yaml.safe_load_all(render({"a.yaml": text, "b.yaml": job("b")}))] == [
        {"a": "x\n\n\n"},
        None,
    ]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.lists(
        st.tuples(
            st.lists(_VALUES, min_size=1, max_size=3), st.booleans(), st.booleans(), st.sampled_from(["\n", "\r\n"])
        ),
        max_size=4,
    )
)
def test_the_documents_of_all_files_come_through_unchanged(files: list[tuple[list[Any], bool, bool, str]]) -> None:
    written: dict[str, str | bytes] = {}
    expected = []
    for index, (values, start, end, line_break) in enumerate(files):
        documents = [{"apiVersion": "v1", "kind": "Thing", "spec": value} for value in values]
        text = yaml.safe_dump_all(documents, explicit_start=start, explicit_end=end, line_break=line_break)
        written[f"{index}.yaml"] = text.encode()
        expected += documents
    assert list(yaml.safe_load_all(render(written))) == expected


async def test_plain_roots_need_no_binary() -> None:
    tree = MemoryTree({"a.yaml": job("a")})
    with Renderer.open({"PATH": "/nonexistent"}) as renderer:
        assert names(await renderer.build(tree, plain_root(".", tree))) == ["a"]


def test_a_file_is_parsed_once_for_each_content() -> None:
    tree = MemoryTree({"a.yaml": job("parsed-once"), "b.yaml": job("also")})
    concatenate(tree, plain_root(".", tree))
    after = tree.changed({"b.yaml": job("another")})
    for _ in range(2):
        assert names(concatenate(after, plain_root(".", after))) == ["parsed-once", "another"]
    assert after.reads == ["b.yaml"]
