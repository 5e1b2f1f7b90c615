"""Strings that remember where every character came from; and the two kinds of patches on values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater.documents import parse
from image_updater.kustomize.imagetags import Entry, bounds
from image_updater.kustomize.merge import PatchError, json6902, strategic
from image_updater.kustomize.objects import selects
from image_updater.kustomize.replacements import find, split_path
from image_updater.kustomize.roots import to_plain
from image_updater.kustomize.values import Leaf, Map, Origin, Value, cut, join, pack, part_of, pieces, split, unpack


def value(text: str) -> Value:
    return unpack(pack(parse(text)[0].root), Origin("f.yaml"), 0)


def leaf(text: str) -> Leaf:
    found = value(f'"{text}"')
    assert isinstance(found, Leaf)
    return found


@given(st.text("ab:/", max_size=12), st.text("ab:/", max_size=12), st.data())
def test_cutting_and_joining_keeps_text_and_origin(one: str, two: str, data: st.DataObject) -> None:
    whole = join([leaf(one), ":", leaf(two)])
    assert whole.value == f"{one}:{two}"
    middle = data.draw(st.integers(0, len(whole.value)))
    again = join([cut(whole, 0, middle), cut(whole, middle, len(whole.value))])
    assert again.value == whole.value
    assert [piece for piece in pieces(again) if piece[0]] == [piece for piece in pieces(whole) if piece[0]]
    assert [part.value for part in split(whole, ":")] == whole.value.split(":")
    for text, origin, offset in pieces(whole):
        assert origin is None or origin.value[offset : offset + len(text)] == text


def test_a_whole_scalar_becomes_itself_again() -> None:
    one = leaf("nginx:1")
    assert join([cut(one, 0, 5), cut(one, 5, 7)]) is one


@pytest.mark.parametrize(
    ("text", "frozen"), [("a=b:1", False), ("'a=b:1'", False), ('"a=\\u0062:1"', True), ("|\n  a=b:1", True)]
)
def test_a_part_of_a_scalar_maps_to_the_file_or_is_frozen(text: str, frozen: bool) -> None:
    whole = value(text)
    assert isinstance(whole, Leaf)
    ref = part_of(whole, 4, 5).ref()
    assert (ref.frozen is not None) is frozen
    assert ref.value == "1"
    assert frozen or text[ref.start : ref.end] == "1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nginx", ("nginx", "", "")),
        ("nginx:1", ("nginx", "1", "")),
        ("host:5000/nginx", ("host:5000/nginx", "", "")),
        ("host:5000/nginx:1@sha256:ab", ("host:5000/nginx", "1", "sha256:ab")),
        ("nginx@sha256:ab", ("nginx", "", "sha256:ab")),
        ("", ("", "", "")),
    ],
)
def test_references_are_split_as_kustomize_splits(text: str, expected: tuple[str, str, str]) -> None:
    name_end, tag_end, digest_start = bounds(text)
    assert (text[:name_end], text[name_end + 1 : tag_end], text[digest_start:]) == expected


@pytest.mark.parametrize(
    ("entry", "before", "after"),
    [
        ("{name: a, newTag: '2'}", "a:1@sha256:0", "a:2"),
        ("{name: a, digest: 'sha256:1'}", "a:1", "a@sha256:1"),
        ("{name: a, newTag: '2', digest: 'sha256:1'}", "a", "a:2@sha256:1"),
        ("{name: a, newName: b}", "a:1@sha256:0", "b:1@sha256:0"),
        ("{name: a}", "a:1", "a:1"),
        ("{name: a, newTag: '2'}", "ab:1", None),
        ("{name: 'a|x', newTag: '2'}", "axe", "axe:2"),
        ("{name: '[', newTag: '2'}", "a", None),
        ("{name: a.c, newTag: '2'}", "abc", "abc:2"),
    ],
)
def test_an_entry_rewrites_what_its_expression_matches(entry: str, before: str, after: str | None) -> None:
    tree = value(entry)
    assert isinstance(tree, Map)
    result = Entry(tree).apply(leaf(before))
    assert (None if result is None else result.value) == after


@pytest.mark.parametrize(
    ("base", "patch", "merged"),
    [
        ("{a: {b: 1, c: 2}}", "{a: {c: 3, d: 4}}", {"a": {"b": "1", "c": "3", "d": "4"}}),
        ("{a: 1, b: 2}", "{a: null}", {"b": "2"}),
        ("{a: {b: 1}}", "{a: {$patch: replace, c: 2}}", {"a": {"c": "2"}}),
        ("{a: {b: 1}}", "{a: {$patch: delete}}", {}),
        ("{l: [1, 2]}", "{l: [3]}", {"l": ["3"]}),
        ("{}", "{a: {b: null, c: 1}}", {"a": {"c": "1"}}),
    ],
)
def test_a_strategic_merge(base: str, patch: str, merged: object) -> None:
    result = strategic(value(base), value(patch), schema=True)
    assert result is not None
    assert to_plain(result) == merged


@pytest.mark.parametrize(
    "operations",
    [
        "[{op: remove, path: /nope}]",
        "[{op: replace, path: /l/7, value: x}]",
        "[{op: add, path: /a/b/c, value: x}]",
        "[{op: test, path: /a, value: other}]",
        "[{op: add, path: /a}]",
        "[{op: odd, path: /a}]",
        "[{path: /a, op: remove}, {op: remove}]",
    ],
)
def test_an_operation_that_does_not_apply_is_an_error(operations: str) -> None:
    patch = value(operations)
    assert isinstance(patch, list)
    with pytest.raises(PatchError):
        json6902(value("{a: 1, l: [x]}"), patch)


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("a=1", True),
        ("a==1,b!=3", True),
        ("a in (1, 2)", True),
        ("a notin (1)", False),
        ("c", False),
        ("!c", True),
        ("a=1,c", False),
    ],
)
def test_label_selectors(selector: str, chosen: bool) -> None:
    assert selects(selector, {"a": "1", "b": "2"}) is chosen


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.b", ["a", "b"]),
        ("data.a\\.b", ["data", "a.b"]),
        ("c.[name=x.y].image", ["c", "[name=x.y]", "image"]),
        ("[a.b].c", ["a.b", "c"]),
    ],
)
def test_field_paths_of_replacements(path: str, expected: list[str]) -> None:
    assert split_path(path) == expected


def test_a_field_path_finds_every_match() -> None:
    tree = value("{c: [{name: x, image: a}, {name: y, image: b}]}")
    assert list(find(tree, ["c", "*", "image"], ())) == [("c", 0, "image"), ("c", 1, "image")]
    assert list(find(tree, ["c", "[name=y]", "image"], ())) == [("c", 1, "image")]
