"""Markers: what is read as one, what is a near miss, and what is no comment at all."""

from __future__ import annotations

import pytest

from image_updater.documents import parse
from image_updater.kustomize import markers
from image_updater.kustomize.model import Marker, Part

FLUX = '# {"$imagepolicy": "apps:web"}'


def find(text: str) -> list[Marker]:
    found = markers.find(text, parse(text), "a.yaml")
    for marker in found:
        if marker.scalar is not None:
            assert marker.problem is None
            assert parse(text[marker.scalar.start : marker.scalar.end])[0].root.value == marker.scalar.value  # type: ignore[union-attr]
    return found


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ('# {"$imagepolicy": "apps:web"}', ("apps", "web", Part.IMAGE)),
        ('#{"$imagepolicy":"apps:web:tag"}', ("apps", "web", Part.TAG)),
        ('## {"$imagepolicy": "apps:web:name"}', ("apps", "web", Part.NAME)),
        ('# {"$imagepolicy": "apps:web:digest", "x": "y"}   ', ("apps", "web", Part.DIGEST)),
        ('# {"$imagepolicy": "apps:tag"}', ("apps", "tag", Part.IMAGE)),
        ("# image-policy: apps:web:tag", ("apps", "web", Part.TAG)),
        ("# image-policy: web:tag", (None, "web", Part.TAG)),
        ("#image-policy:web", (None, "web", Part.IMAGE)),
        ("# image-policy: apps:web", ("apps", "web", Part.IMAGE)),
        ("# image-policy: web:digest", (None, "web", Part.DIGEST)),
    ],
)
@pytest.mark.parametrize(
    "value", ["nginx:1", '"nginx:1"', "'nginx:1'", "&a nginx:1", "!!str nginx:1", '"a # b"', "'it''s'"]
)
def test_a_marker_behind_a_value_names_the_policy_and_the_part(
    comment: str, expected: tuple[str, str, Part], value: str
) -> None:
    (marker,) = find(f"a: 1\nimage: {value} {comment}\nb: 2\n")
    assert (marker.namespace, marker.name, marker.part) == expected
    assert marker.scalar is not None
    assert (marker.line, marker.scalar.path, marker.scalar.line) == (2, ("image",), 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"image: x {FLUX} and more\n", "behind"),
        ('image: x # see {"$imagepolicy": "apps:web"}\n', "before the marker"),
        ("image: x # {'$imagepolicy': 'apps:web'}\n", "double quotes"),
        ('image: x # {"$imagepolicy": "apps:web:version"}\n', "suffix"),
        ('image: x # {"$imagepolicy": "apps:web}\n', "JSON"),
        ('image: x # {"$imagepolicy": "web"}\n', "NAMESPACE:NAME"),
        ('image: x # {"$imagepolicy": "a:b:c:d"}\n', "NAMESPACE:NAME"),
        ('image: x # {"$imagepolicy": 3}\n', "strings"),
        ('image: x # {"$imagepolicy": ":web"}\n', "not a name"),
        ('image: x # {"$imagepolicyx": "a:web"}\n', "no key"),
        ("image: x # image-policy: web and more\n", "behind"),
        ("image: x # image-policy:\n", "names no policy"),
        ("image: x # image-policy: a:b:version\n", "suffix"),
        ("image: x # image-policy: a:b:c:d\n", "NAMESPACE"),
        ("image: x # image-policy: A_b\n", "not a name"),
        (f"{FLUX}\nimage: x\n", "line of its own"),
        (f"image: x\n  {FLUX}\n", "line of its own"),
        (f"images: {FLUX}\n  - x\n", "no value"),
        (f"image: {FLUX}\n", "no value"),
        (f"a:\n  - {FLUX}\n    x\n", "no value"),
        (f"--- {FLUX}\na: 1\n", "no value"),
        (f"a: |\n  image: x {FLUX}\n", "block scalar"),
        (f"a: | {FLUX}\n  image: x\n", "header of a block scalar"),
        (f"a: >- {FLUX}\n  image: x\nb: 1\n", "header of a block scalar"),
        (f"a: &x 1\nb: *x {FLUX}\n", "alias"),
        (f"{{a: x, b: y}} {FLUX}\n", "2 values"),
        (f"- [a, b, c] {FLUX}\n", "3 values"),
    ],
)
def test_a_near_miss_is_reported_and_sets_nothing(text: str, words: str) -> None:
    (marker,) = find(text)
    assert marker.problem is not None
    assert words in marker.problem
    assert marker.scalar is None


@pytest.mark.parametrize(
    "text",
    [
        'a: "x # image-policy: web"\n',
        'a: \'x # {"$imagepolicy": "a:b"}\'\n',
        'a: "x\n  # image-policy: web\n  y"\n',
        "a: x#image-policy:web\n",
        "a: 1 # the image-policy: is elsewhere\n",
        "a: 1 # nothing\n",
        "image-policy: web\n",
        "",
    ],
)
def test_text_that_is_no_comment_is_no_marker(text: str) -> None:
    assert find(text) == []


def paths(text: str) -> list[object]:
    return [marker.scalar.path if marker.scalar else marker.problem for marker in find(text)]


def test_markers_are_found_in_sequences_flow_and_every_document() -> None:
    text = (
        f"- x {FLUX}\n- name: y\n  image: z {FLUX}\n---\nimage: {{repository: a,\n  tag: '1' }} {FLUX}\n"
        f"l: [\n  p, {FLUX}\n  q {FLUX}\n]\nm: [solo] {FLUX}\n"
    )
    assert paths(text) == [(0,), (1, "image"), ("image", "tag"), ("l", 0), ("l", 1), ("m", 0)]
    assert [marker.scalar.document for marker in find(text) if marker.scalar] == [0, 0, 1, 1, 1, 1]


def test_a_key_with_a_marker_word_and_a_quoted_key_do_not_confuse() -> None:
    assert paths(f'"a # b": x {FLUX}\n') == [("a # b",)]
    assert paths(f"? k\n: x {FLUX}\n") == [("k",)]


def test_line_ends_and_a_byte_order_mark_are_of_no_matter() -> None:
    for text in (
        f"\ufeffa: 1\r\nimage: é {FLUX}\r\nb: 2\r\n",
        f"a: 1\rimage: é {FLUX}\rb: 2",
        f"a: 1\nimage: é {FLUX}",
    ):
        (marker,) = find(text)
        assert marker.line == 2
        assert marker.scalar is not None
        assert text[marker.scalar.start : marker.scalar.end] == "é"


def test_a_multi_line_value_takes_the_marker_on_its_last_line() -> None:
    assert paths(f"a: 'x\n  y' {FLUX}\n") == [("a",)]
    assert paths(f"a: x\n  y {FLUX}\n") == [("a",)]


def test_a_value_below_an_anchor_says_that_it_may_be_shared() -> None:
    assert [marker.scalar.anchored for marker in find(f"a: &x\n  i: v {FLUX}\nb: w {FLUX}\n") if marker.scalar] == [
        True,
        False,
    ]


def test_a_comment_behind_a_block_scalar_is_on_a_line_of_its_own() -> None:
    (marker,) = find(f"a: |\n  text\n{FLUX}\nb: c\n")
    assert marker.problem is not None
    assert "own" in marker.problem
