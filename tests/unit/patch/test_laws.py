"""Laws of editing, on random files in random styles: an edit verifies, a tampered one does not, other bytes stay."""

from __future__ import annotations

import string
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from image_updater.documents import Document, Mapping, Scalar, Sequence, parse, walk
from image_updater.errors import DocumentError, Refused
from image_updater.kustomize.model import Path
from image_updater.kustomize.refs import scalar_ref
from image_updater.patch.model import Change, Edit, EditKind
from image_updater.patch.quoting import fresh
from image_updater.patch.splice import splice
from image_updater.patch.verify import verify_parse
from image_updater.patch.write import write
from tests.unit.patch.helpers import FILE, add, apply, edits_of, put

KEYS = st.sampled_from(["name", "newTag", "newName", "tag", "x", "é", "a b", "on", "1", "k-y"])
VALUES = st.one_of(
    st.sampled_from(
        [
            "nginx:1.2",
            "1.10",
            "on",
            "v1",
            "",
            "~",
            "a: b",
            "a #b",
            "it's",
            'q"q',
            "[x",
            "{y}",
            "x,y",
            "😀",
            "&a",
            "0x1f",
            "- d",
            "1:30",
            "\\n",
        ]
    ),
    st.text(string.ascii_letters + string.digits + "-._:/@ '\"#,{}[]é", max_size=12),
)
COMMENTS = st.sampled_from(["", "", " # c", "  # 'é\" :", "\t# x: y"])


@st.composite
def scalar(draw: st.DrawFn, *, flow: bool) -> str:
    value = draw(VALUES)
    style = draw(st.sampled_from(["", "", "'", '"']))
    prefix = draw(st.sampled_from(["", "", "", "", "!!str ", "&k ", "&k !!str "]))
    return prefix + fresh(value, flow=flow, style=style)


@st.composite
def flow_node(draw: st.DrawFn, depth: int) -> str:
    kind = draw(st.integers(0, 2)) if depth else 0
    if kind == 0:
        return draw(scalar(flow=True))
    items = draw(st.lists(flow_node(depth - 1), max_size=3))
    gap = draw(st.sampled_from(["", " "]))
    if kind == 1:
        return "[" + gap + ", ".join(items) + gap + "]"
    keys = draw(st.lists(KEYS, min_size=len(items), max_size=len(items), unique=True))
    pairs = [f"{fresh(key, flow=True)}: {item}" for key, item in zip(keys, items, strict=True)]
    return "{" + gap + ", ".join(pairs) + gap + "}"


@st.composite
def block_node(draw: st.DrawFn, depth: int, indent: int) -> list[str]:
    """Lines of a block mapping or sequence."""
    lines: list[str] = []
    pad = " " * indent
    step = draw(st.sampled_from([2, 4]))
    sequence = draw(st.booleans())
    count = draw(st.integers(1, 3))
    keys = draw(st.lists(KEYS, min_size=count, max_size=count, unique=True))
    for key in keys:
        if draw(st.integers(0, 5)) == 0:
            lines.append(draw(st.sampled_from(["", pad + "# own line", "# at the margin"])))
        head = f"{pad}-" if sequence else f"{pad}{fresh(key, flow=False, style=draw(st.sampled_from(['', chr(39)])))}:"
        comment = draw(COMMENTS)
        kind = draw(st.integers(0, 4)) if depth else draw(st.integers(0, 1))
        if kind <= 1:
            lines.append(f"{head} {draw(flow_node(2 if kind else 0))}{comment}")
        elif kind == 2:
            lines += [f"{head} |{comment}", f"{pad}{' ' * step}text # no comment", "", f"{pad}{' ' * step}end"]
        else:
            below = draw(block_node(depth - 1, indent + step))
            lines += [f"{head}{comment}", *below]
    return lines


@st.composite
def files(draw: st.DrawFn) -> str:
    eol = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    documents = [draw(block_node(2, 0)) for _ in range(draw(st.integers(1, 2)))]
    lines: list[str] = ["---"] if draw(st.booleans()) else []
    for i, document in enumerate(documents):
        lines += (["---"] if i else []) + document
    tail = draw(st.sampled_from(["", eol, eol + eol, f"{eol}# end{eol}", f"{eol}...{eol}"]))
    text = draw(st.sampled_from(["", "", "\ufeff"])) + eol.join(lines) + tail
    try:
        parse(text)
    except DocumentError:
        assume(False)
    return text


def places(documents: list[Document]) -> list[tuple[int, Path, Scalar]]:
    """Scalars whose path is theirs alone."""
    found = [(d.index, path, node) for d in documents for path, node in walk(d.root) if isinstance(node, Scalar)]
    return [item for item in found if sum(other[:2] == item[:2] for other in found) == 1]


def change_of(place: tuple[int, Path, Scalar], value: str | None, kind: EditKind = EditKind.SCALAR) -> Change:
    document, path, node = place
    ref = scalar_ref(node, file=FILE, document=document, path=path)
    return Change(kind=kind, file=FILE, policy="p", site="s", scalar=ref, value=value, document=document)


def others_equal(old: str, new: str, edits: list[Edit]) -> bool:
    """All characters outside the edits' spans, in order."""
    kept, at = "", 0
    for edit in edits:
        kept += old[at : edit.start]
        at = edit.end
    kept += old[at:]
    rest, at, shift = "", 0, 0
    for edit in edits:
        start = edit.start + shift
        rest += new[at:start]
        at = start + len(edit.text)
        shift += len(edit.text) - (edit.end - edit.start)
    return kept == rest + new[at:]


@given(files(), VALUES, st.data())
def test_an_edited_scalar_reads_as_meant_and_nothing_else_moves(text: str, value: str, data: st.DataObject) -> None:
    candidates = [p for p in places(parse(text)) if p[2].style not in ("|", ">")]
    assume(candidates)
    chosen = data.draw(st.lists(st.sampled_from(candidates), min_size=1, max_size=3, unique_by=lambda p: p[2].start))
    edits = write({FILE: text}, [change_of(place, value) for place in chosen])
    new = splice(text, edits)
    verify_parse(text, new, edits, FILE)
    assert others_equal(text, new, edits)
    after = {place[:2]: place[2].value for place in places(parse(new))}
    for document, path, _ in chosen:
        assert after[document, path] == value


@given(files(), VALUES, st.data())
def test_one_more_byte_is_refused(text: str, value: str, data: st.DataObject) -> None:
    candidates = [p for p in places(parse(text)) if p[2].style not in ("|", ">") and p[2].start < p[2].end]
    assume(candidates)
    place = data.draw(st.sampled_from(candidates))
    edits = write({FILE: text}, [change_of(place, value)])
    new = splice(text, edits)
    at = data.draw(st.integers(0, len(new)))
    extra = data.draw(st.sampled_from(["x", " ", "\n", "#", "'", "1"]))
    with pytest.raises(Refused):
        verify_parse(text, new[:at] + extra + new[at:], edits, FILE)
    if new:
        gone = data.draw(st.integers(0, len(new) - 1))
        with pytest.raises(Refused):
            verify_parse(text, new[:gone] + new[gone + 1 :], edits, FILE)


@given(files(), VALUES, st.data())
def test_an_edit_that_says_more_than_its_value_is_refused(text: str, value: str, data: st.DataObject) -> None:
    candidates = [p for p in places(parse(text)) if p[2].style not in ("|", ">") and p[2].start < p[2].end]
    assume(candidates)
    place = data.draw(st.sampled_from(candidates))
    (edit,) = write({FILE: text}, [change_of(place, value)])
    at = data.draw(st.integers(0, len(edit.text)))
    extra = data.draw(st.sampled_from(["x", " ", " # c", "\n", ", y: z", "\nk: v"]))
    tampered = replace(edit, text=edit.text[:at] + extra + edit.text[at:])
    with pytest.raises(Refused):
        verify_parse(text, splice(text, [tampered]), [tampered], FILE)
    wider = replace(edit, end=edit.end + 1)
    if edit.end < len(text) and splice(text, [wider]) != splice(text, [edit]):
        with pytest.raises(Refused):
            verify_parse(text, splice(text, [wider]), [wider], FILE)


@given(files(), st.data())
def test_an_insert_adds_its_keys_and_nothing_else(text: str, data: st.DataObject) -> None:
    documents = parse(text)
    seen = [(d.index, path, node) for d in documents for path, node in walk(d.root)]
    mappings = [
        (d, path, n) for d, path, n in seen if isinstance(n, Mapping) and sum(o[:2] == (d, path) for o in seen) == 1
    ]
    sequences = [
        (d, path, n) for d, path, n in seen if isinstance(n, Sequence) and sum(o[:2] == (d, path) for o in seen) == 1
    ]
    changes: list[Change] = []
    for document, path, _ in (
        data.draw(st.lists(st.sampled_from(mappings), max_size=2, unique_by=lambda m: m[:2])) if mappings else []
    ):
        changes.append(add(path, ("fresh", "1.10"), ("other", "v1"), document=document))
    for document, path, _ in (
        data.draw(st.lists(st.sampled_from(sequences), max_size=2, unique_by=lambda m: m[:2])) if sequences else []
    ):
        changes.append(add(path, ("name", "nx"), ("newTag", "1.10"), append=True, document=document))
    root = documents[0].root
    if isinstance(root, Mapping) and data.draw(st.booleans()):
        names = ("i1",) if root.flow else ("i1", "i2")
        changes += [add(("images",), ("name", name), ("newTag", "1"), append=True) for name in names]
    assume(changes)
    edits = edits_of(text, *changes)
    new = splice(text, edits)
    if text.endswith("end"):  # inside a block scalar that lacks its line break: nothing can follow it
        try:
            verify_parse(text, new, edits, FILE)
        except Refused:
            return
    verify_parse(text, new, edits, FILE)
    assert others_equal(text, new, edits)
    before = sum(1 for d in documents for _ in walk(d.root))
    after = sum(1 for d in parse(new) for _ in walk(d.root))
    assert after > before
    if new.endswith(("\n", "\r")) != text.endswith(("\n", "\r")):
        assert not text.strip("\ufeff")
    shuffled = data.draw(st.permutations(edits))
    index = data.draw(st.integers(0, len(shuffled) - 1))
    edit = shuffled[index]
    for extra in (" ", " # c", "x"):
        worse = [replace(e, text=e.text + extra) if e is edit else e for e in edits]
        if extra == "x" and not edit.text:
            continue
        with pytest.raises(Refused):
            verify_parse(text, splice(text, worse), worse, FILE)


@given(files(), st.data())
def test_a_removal_takes_one_key_or_is_refused(text: str, data: st.DataObject) -> None:
    candidates = [p for p in places(parse(text)) if p[1] and isinstance(p[1][-1], str)]
    assume(candidates)
    place = data.draw(st.sampled_from(candidates))
    before = places(parse(text))
    try:
        edits = write({FILE: text}, [change_of(place, None, EditKind.REMOVE)])
        new = splice(text, edits)
        verify_parse(text, new, edits, FILE)
    except Refused:
        return
    after = {p[:2]: p[2].value for p in places(parse(new))}
    assert after == {p[:2]: p[2].value for p in before if p[:2] != place[:2]}
    assert others_equal(text, new, edits)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3), st.text("xy\n", max_size=3)), max_size=5))
def test_splice_replaces_the_spans_and_keeps_the_rest(spans: list[tuple[int, int, str]]) -> None:
    text = "abcdefghijklmnopqrstuvwxyz" * 2
    edits: list[Edit] = []
    at = 0
    for start, length, piece in sorted(spans):
        if start < at:
            continue
        edits.append(
            Edit(
                kind=EditKind.SCALAR,
                file=FILE,
                line=1,
                field="f",
                old="",
                new="",
                policy="p",
                start=start,
                end=start + length,
                text=piece,
            )
        )
        at = start + length + 1
    assert others_equal(text, splice(text, edits), edits)


def test_overlapping_edits_are_refused() -> None:
    one = Edit(kind=EditKind.SCALAR, file=FILE, line=1, field="f", old="", new="", policy="p", start=0, end=2, text="")
    with pytest.raises(Refused, match="overlaps"):
        splice("abc", [one, replace(one, start=1, end=3)])
    with pytest.raises(Refused, match="outside"):
        splice("abc", [replace(one, start=2, end=9)])


def test_verify_names_what_it_found() -> None:
    text = "a: x\nb: y\n"
    (edit,) = edits_of(text, put(text, "z", "a"))
    with pytest.raises(Refused, match="outside the edits") as caught:
        verify_parse(text, "a: z\nb: w\n", [edit], FILE)
    assert caught.value.where.line == 2
    for tampered, words in [
        (replace(edit, new="w"), "not 'w'"),
        (replace(edit, text="z: w"), "no longer be YAML"),
        (replace(edit, text="&x z"), "anchor"),
        (replace(edit, text="*b"), "no longer be YAML"),
        (replace(edit, text="[z]"), "turn from a value to a list"),
        (replace(edit, text="z\n---\nc: w"), "documents"),
        (replace(edit, text="z\nc: w"), "is not the new value's text"),
        (replace(edit, kind=EditKind.INSERT, start=4, text="\nc: w"), "would appear"),
        (replace(edit, text="'z'"), "quotes"),
        (replace(edit, text="1.10", new="1.10"), "something else than a string"),
        (replace(edit, kind=EditKind.REMOVE, field="q", start=0, end=5, text=""), "would appear"),
    ]:
        with pytest.raises(Refused, match=words):
            verify_parse(text, splice(text, [tampered]), [tampered], FILE)
    with pytest.raises(Refused, match="changes nothing"):
        verify_parse(text, text, [replace(edit, start=0, end=1, text="a")], FILE)
    assert apply(text, put(text, "x", "a")) == text
