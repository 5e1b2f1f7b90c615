"""Spans are exact: for every scalar of every odd file, its text re-parses to its value."""

from __future__ import annotations

import re
import string as ascii_

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater.documents import Alias, Document, Mapping, Node, Scalar, Sequence, decode, get, parse, plain, walk
from image_updater.documents.parse import MAX_BYTES
from image_updater.documents.values import implicit_tag, is_string, reads_as_string, string
from image_updater.errors import DocumentError


def scalars(node: Node | None) -> list[Scalar]:
    if node is None or isinstance(node, Alias):
        return []
    if isinstance(node, Scalar):
        return [node]
    if isinstance(node, Sequence):
        return [s for item in node.items for s in scalars(item)]
    return [s for key, value in node.items for s in (*scalars(key), *scalars(value))]


def check_spans(text: str) -> list[Document]:
    documents = parse(text)
    for document in documents:
        for scalar in scalars(document.root):
            piece = text[scalar.start : scalar.end]
            if scalar.style in ("|", ">"):
                # The indentation is relative: put the piece below a key as it stands in the file.
                assert piece.startswith(scalar.style)
                continue
            if not scalar.style and not piece:
                assert scalar.value == ""
                continue
            again = parse("[" + piece + "]" if not scalar.style and "\n" not in piece else piece)
            root = again[0].root
            inner = root.items[0] if isinstance(root, Sequence) else root
            assert isinstance(inner, Scalar)
            assert inner.value == scalar.value, piece
            if scalar.style:
                assert piece[0] == piece[-1] == scalar.style
            line = len(re.findall("\r\n|[\r\n\x85\u2028\u2029]", text[: scalar.start])) + 1
            assert scalar.line == line
    return documents


CASES = {
    "crlf": "a: x\r\nb:\r\n  - 'y'\r\n",
    "lone cr": "a: x\rb: y\r",
    "bom": "\ufeffa: x\nb: 'y'\n",
    "bom and comment": "\ufeff# c\na: x\n",
    "bom and crlf": "\ufeffa: x\r\nb: y\r\n",
    "two bytes": "ä: é\nb: ö # ü\nc: x\n",
    "four bytes": "a: 😀\nb: '😀'\nc: x\n",
    "tab before value": "image:\tx\nb:\t'y'\n",
    "tab before comment": "a: x\t# c\n",
    "single quotes": "a: 'it''s'\nb: ''\n",
    "double quotes": 'a: "x\\n\\u00e9\\"y"\nb: ""\n',
    "quoted over lines": "a: 'x\n\n  y'\nb: \"p\\\n  q\"\n",
    "anchor": "a: &x y\nb: *x\n",
    "anchor and tag": "a: &x !!str y\nb: !!str &z y\n",
    "tag": "a: !!str 1.10\nb: ! 2\nc: !<tag:yaml.org,2002:str> 3\nd: !local 4\n",
    "anchor on a line of its own": "a: &x # c\n\n  # d\n  y\n",
    "anchor of a mapping and of its key": "a: &m\n  &k b: c\n",
    "anchor of a sequence": "a: &s\n- b\n- c\n",
    "literal": "a: |\n  x\n  y\nb: z\n",
    "literal with indicators": "a: |2-\n    x\nb: |+\n  y\n\nc: z\n",
    "folded": "a: >-\n  x\n  y\n\n  z\nb: c\n",
    "block scalar at the end": "a: |\n  x",
    "documents": "---\na: x\n---\nb: y\n...\n---\nc: z\n",
    "document on the marker's line": "--- x\n--- 'y'\n--- {a: b}\n",
    "directive": "%YAML 1.1\n---\na: x\n",
    "flow": "a: {b: c, d: [e, 'f', \"g\"], h: }\n",
    "flow over lines": "a: {b: c,\n  d: [e,\n  f]}\n",
    "flow json": '{"a":"b","c":["d"]}',
    "flow pairs": "[a: b, ? c : d, e]\n",
    "multi-line plain": "a: x\n  y\n  z\nb: c\n",
    "explicit key": "? a\n: b\n? 'c'\n: d\n",
    "empty values": "a:\nb: # c\nc: {d: , e: }\nf:\n  -\n  - x\n",
    "no final newline": "a: x\nb: y",
    "duplicate keys": "a: x\na: y\n",
    "merge keys": "a: &x {b: c}\nd:\n  <<: *x\n  e: f\n",
    "sequence in a sequence": "- - a\n  - b\n- - c\n",
    "colons and hashes": "a: b:c\nd: e#f\ng: 'h # i'\nj: http://k:1/l#m\n",
    "next line and line separator": "a: 'x\u2028y'\nb: z\x85c: \"d\x85  e\"\nf: g # h\u2028i: j\n",
    "byte order mark inside": "a: \ufeffx\nb: 'y\ufeff'\n",
    "trailing blanks": "a: x   \nb: y \t\n\n\n",
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES.keys())
def test_a_scalars_text_reads_as_its_value(text: str) -> None:
    check_spans(text)


_WORDS = st.text(ascii_.ascii_letters + ascii_.digits + "-_./: #é😀", min_size=0, max_size=8)


def _plain(word: str) -> str | None:
    try:
        root = parse(f"[{word}]")[0].root
    except DocumentError:
        return None
    ok = (
        isinstance(root, Sequence)
        and len(root.items) == 1
        and isinstance(root.items[0], Scalar)
        and root.items[0].value == word
    )
    return word if ok and word else None


@st.composite
def _scalar(draw: st.DrawFn) -> str:
    word = draw(_WORDS)
    style = draw(st.sampled_from(["plain", "single", "double"]))
    text = _plain(word) if style == "plain" else None
    if text is None:
        text = f'"{word}"' if style == "double" else f"'{word}'"
    prefix = draw(st.sampled_from(["", "", "", "&a ", "!!str ", "&b !!str ", "!x &c "]))
    return prefix + text


@st.composite
def _files(draw: st.DrawFn) -> str:
    eol = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    lines: list[str] = []
    for i in range(draw(st.integers(1, 6))):
        comment = draw(st.sampled_from(["", " # c", "  # 'é", "\t#"]))
        value = draw(_scalar())
        shape = draw(st.integers(0, 4))
        if shape == 0:
            lines.append(f"k{i}: {value}{comment}")
        elif shape == 1:
            lines += [f"k{i}:{comment}", f"- {value}{comment}", f"- x: {draw(_scalar())}", f"  y: {value}"]
        elif shape == 2:
            lines.append(f"k{i}: {{a: {value} , b: [{draw(_scalar())} ]}}{comment}")
        elif shape == 3:
            lines += [f"k{i}: |{comment}", "  text", "", f"k{i}b: {value}"]
        else:
            lines += ["# é", f"'k{i}':{comment}", f"    {value}{comment}"]
    bom = draw(st.sampled_from(["", "\ufeff"]))
    end = draw(st.sampled_from(["", eol]))
    return bom + eol.join(lines) + end


@given(_files())
def test_spans_hold_for_any_file(text: str) -> None:
    check_spans(text)


def test_anchors_and_tags_stand_before_the_span() -> None:
    text = "a: &x !!str y\nb: &m\n  &k c: d\ne: !!map\n  f: g\n"
    root = parse(text)[0].root
    a = get(root, "a")
    assert isinstance(a, Scalar)
    assert (text[a.start : a.end], a.anchor, a.tag) == ("y", "x", "tag:yaml.org,2002:str")
    b = get(root, "b")
    assert isinstance(b, Mapping)
    assert (text[b.start :].startswith("&k c"), b.line, b.column) == (True, 3, 2)
    e = get(root, "e")
    assert isinstance(e, Mapping)
    assert text[e.start :].startswith("f: g")


def test_an_anchor_above_a_comment_does_not_move_the_value() -> None:
    text = "a: &x # foo\n  b\n"
    node = get(parse(text)[0].root, "a")
    assert isinstance(node, Scalar)
    assert (text[node.start : node.end], node.line, node.column) == ("b", 2, 2)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a: \xe9\n", "not UTF-8"),
        ("a: x\n".encode("utf-16"), "not UTF-8"),
        (b"x" * (MAX_BYTES + 1), "more than the limit"),
    ],
    ids=["latin-1", "utf-16", "large"],
)
def test_bytes_that_are_no_text_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(DocumentError, match=words) as caught:
        decode(data, file="x.yaml")
    assert caught.value.where.file == "x.yaml"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: \x00\n", None),
        ("a: b: c\n", 1),
        ("a: 1\n{{ if .Values.x }}\nb: 1\n", 3),
        ("a: 'x\nb: 1\n", 1),
        ("a: *b\n", 1),
        ("a: &a [*a]\n", 1),
        ("a:\n\tb: c\n", 2),
        ("- a\nb: c\n", 2),
        ("[" * 600 + "]" * 600, 1),
    ],
    ids=["control", "nested", "template", "open quote", "no anchor", "cycle", "tab", "mixed", "deep"],
)
def test_what_is_no_yaml_is_refused_with_its_line(text: str, line: int | None) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(text, file="x.yaml")
    assert caught.value.where.file == "x.yaml"
    if line is not None:
        assert caught.value.where.line == line


def test_empty_documents_count() -> None:
    documents = parse("---\n---\na: 1\n---\n# c\n")
    assert [(d.index, d.root is None) for d in documents] == [(0, True), (1, False), (2, True)]
    assert parse("") == []
    assert parse("# only\n") == []


def test_get_follows_aliases_merges_and_the_last_duplicate() -> None:
    root = parse("a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd: [*a]\ne: 1\ne: 2\nf: {<<: [{z: 1}, *a]}\n")[0].root
    assert string(get(root, "b", "x")) == "1"
    assert [string(get(root, "c", key)) for key in ("x", "y")] == ["1", "3"]
    assert string(get(root, "d", 0, "y")) == "2"
    assert string(get(root, "e")) == "2"
    assert [string(get(root, "f", key)) for key in ("z", "y")] == ["1", "2"]
    assert get(root, "nope") is None
    assert get(root, "d", 7) is None
    assert get(root, "e", "x") is None


def test_walk_yields_every_value_with_its_path() -> None:
    root = parse("a: [1, {b: 2}]\nc: &x 3\nd: *x\n")[0].root
    assert [path for path, _ in walk(root)] == [(), ("a",), ("a", 0), ("a", 1), ("a", 1, "b"), ("c",), ("d",)]


def test_plain_reads_by_yaml_1_1() -> None:
    root = parse(
        "a: [1, 0x1f, 0b11, 017, 1_000, 1:30, 1.5, 1e3, .inf, -.inf, yes, Off, ~, null, '', "
        "2024-01-01, !!str 1, '1', =, x]\n"
        "b: {<<: {c: 1}, d: 2}\n1: x\n"
    )[0].root
    assert plain(root) == {
        "a": [
            1,
            31,
            3,
            15,
            1000,
            90,
            1.5,
            "1e3",
            float("inf"),
            float("-inf"),
            True,
            False,
            None,
            None,
            "",
            "2024-01-01",
            "1",
            "1",
            "=",
            "x",
        ],
        "b": {"c": 1, "d": 2},
        1: "x",
    }


def test_plain_refuses_a_bomb() -> None:
    text = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))
    with pytest.raises(DocumentError, match="aliases"):
        plain(parse(text)[0].root, file="x")


@pytest.mark.parametrize(
    "text",
    [
        "1.10",
        "1",
        "0x1",
        "1e5",
        "012",
        "0o17",
        "1:30",
        "on",
        "Yes",
        "~",
        "null",
        "",
        "2024-01-01",
        "=",
        "<<",
        ".5",
        "1.",
        "+1",
        "y",
        "N",
        "2024-1-2",
        "0o1_7",
        "12e34",
        ".inf",
    ],
)
def test_what_needs_quotes(text: str) -> None:
    assert not reads_as_string(text)


@pytest.mark.parametrize(
    "text", ["1.2.3", "v1", "latest", "1.10-rc", "a:b", "main-1", "0x", "1e", "nginx:1.0", "sha256:12"]
)
def test_what_needs_none(text: str) -> None:
    assert reads_as_string(text)
    assert implicit_tag(text) == "tag:yaml.org,2002:str"


def test_is_string_honours_quotes_and_tags() -> None:
    root = parse("a: [1, '1', !!str 1, ! 1, x, !!int '1']\n")[0].root
    items = get(root, "a")
    assert isinstance(items, Sequence)
    assert [is_string(item) for item in items.items if isinstance(item, Scalar)] == [
        False,
        True,
        True,
        True,
        True,
        False,
    ]
