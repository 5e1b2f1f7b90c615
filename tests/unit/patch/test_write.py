"""Changes to text: quotes, inserts and removals in the file's own style, everything else byte-identical."""

from __future__ import annotations

from dataclasses import replace

import pytest

from image_updater.errors import Refused
from image_updater.patch.model import Edit, EditKind
from image_updater.patch.write import write
from tests.unit.patch.helpers import FILE, add, apply, drop, edits_of, put, ref

D = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("v: a", "b", "v: b"),
        ("v: a # c", "b", "v: b # c"),
        ("v: 'a'", "b", "v: 'b'"),
        ("v: 'a'", "it's", "v: 'it''s'"),
        ('v: "a"', "b", 'v: "b"'),
        ('v: "a"', 'b"\\', 'v: "b\\"\\\\"'),
        ("v: 1.9", "1.10", 'v: "1.10"'),
        ("v: 1.2.3", "1.10", 'v: "1.10"'),
        ("v: '1.9'", "1.10", "v: '1.10'"),
        ("v: 1.9", "1.9", 'v: "1.9"'),
        ("v: x", "0x1f", 'v: "0x1f"'),
        ("v: x", "1e5", 'v: "1e5"'),
        ("v: x", "12e34", 'v: "12e34"'),
        ("v: x", "012", 'v: "012"'),
        ("v: x", "0o17", 'v: "0o17"'),
        ("v: x", "1:30", 'v: "1:30"'),
        ("v: x", "on", 'v: "on"'),
        ("v: x", "y", 'v: "y"'),
        ("v: x", "No", 'v: "No"'),
        ("v: x", "~", 'v: "~"'),
        ("v: x", "null", 'v: "null"'),
        ("v: x", "2024-01-01", 'v: "2024-01-01"'),
        ("v: x", "=", 'v: "="'),
        ("v: x", "<<", 'v: "<<"'),
        ("v: x", "", 'v: ""'),
        ("v: x", "a: b", 'v: "a: b"'),
        ("v: x", "a #b", 'v: "a #b"'),
        ("v: x", "*a", 'v: "*a"'),
        ("v: x", "@a", 'v: "@a"'),
        ("v: x", "- a", 'v: "- a"'),
        ("v: x", "a:", 'v: "a:"'),
        ("v: x", "nginx:1.0", "v: nginx:1.0"),
        ("v: x", D, f"v: {D}"),
        ("v: !!str 1.9", "1.10", "v: !!str 1.10"),
        ("v: ! 1.9", "1.10", "v: ! 1.10"),
        ("v: &a x", "y1", "v: &a y1"),
        ("v:", "b", "v: b"),
        ("v:  # c", "b", "v: b  # c"),
        ("v: ", "1.10", 'v: "1.10" '),
        ("v: ''", "b", "v: 'b'"),
        ("v: 'a\n  b'", "c", "v: 'c'"),
    ],
)
def test_a_value_is_written_in_the_style_of_the_old_one(before: str, value: str, after: str) -> None:
    for end in ("", "\n", "\nw: z\n", "\r\nw: z\r\n"):
        assert apply(before + end, put(before + end, value, "v")) == after + end


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("[a, x]", "b", "[a, b]"),
        ("[a, x]", "b,c", '[a, "b,c"]'),
        ("[a, x]", "b}", '[a, "b}"]'),
        ("[a, x]", "[b", '[a, "[b"]'),
        ("[a, x]", "1.10", '[a, "1.10"]'),
        ("[a, x]", "nginx:1.2.3", "[a, nginx:1.2.3]"),
        ("[a, 'x']", "b,c", "[a, 'b,c']"),
        ('["a","x"]', "b", '["a","b"]'),
        ("- a\n- x # c\n", "b}", "- a\n- b} # c\n"),
        ("- a\n-\n", "b", "- a\n- b\n"),
    ],
)
def test_flow_style_has_its_own_active_characters(before: str, value: str, after: str) -> None:
    assert apply(before, put(before, value, 1)) == after


def test_a_flow_value_that_is_empty_gets_its_blank() -> None:
    text = "{a: , b: }\n"
    assert apply(text, put(text, "x", "a"), put(text, "z", "b")) == "{a: x, b: z}\n"


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("v: |\n  a\n", ("v",), "block scalar"),
        ("v: >-\n  a\n", ("v",), "block scalar"),
        ("v: a\n  b\n", ("v",), "several lines"),
        ("v: !!int 1\n", ("v",), "tag"),
        ("v: !x 1\n", ("v",), "tag"),
        ("? v\n", ("v",), "place is clear"),
        ("{v, w: 1}\n", ("v",), "place is clear"),
    ],
)
def test_what_cannot_be_edited_is_refused_with_the_reason(text: str, path: tuple[str, ...], words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        apply(text, put(text, "x", *path))
    assert caught.value.where.file == FILE
    assert caught.value.where.line is not None


def test_a_frozen_or_stale_reference_is_refused() -> None:
    text = "v: a\nw: b\n"
    change = put(text, "x", "v")
    assert change.scalar is not None
    with pytest.raises(Refused, match="because"):
        apply(text, replace(change, scalar=replace(change.scalar, frozen="because")))
    with pytest.raises(Refused, match="no value 'a'"):
        apply("# c\n" + text, change)
    with pytest.raises(Refused, match="not 'a'"):
        apply("v: z\n", change)


def test_the_ref_inside_a_url_is_replaced_alone() -> None:
    for quote in ("", "'", '"'):
        text = f"- {quote}https://x/y?ref=v1&z=1{quote} # c\n"
        change = put(text, "v2", 0)
        scalar = change.scalar
        assert scalar is not None
        start = text.index("v1")
        part = replace(scalar, start=start, end=start + 2, value="v1")
        assert apply(text, replace(change, scalar=part)) == text.replace("v1", "v2")
        with pytest.raises(Refused, match="part of a scalar"):
            apply(text, replace(change, scalar=part, value="v'2"))


INLINE = (
    "patches:\n- target: {kind: Deployment}\n  patch: |-\n    spec:\n      image: nginx:1 # c\n      tag: 1.9\n\n"
    "      \n      x: y\n- path: z\n"
)


def inline(text: str, piece: str, value: str) -> str:
    outer = ref(text, "patches", 0, "patch")
    start = text.index(piece)
    scalar = replace(
        outer, start=start, end=start + len(piece), value=piece, inline=True, path=("spec", "image"), line=5
    )
    change = replace(put(text, value, "patches", 0, "patch"), scalar=scalar, value=value)
    return apply(text, change)


@pytest.mark.parametrize("eol", ["\n", "\r\n"])
def test_a_value_inside_an_inline_patch_is_edited_by_the_inner_rules(eol: str) -> None:
    text = INLINE.replace("\n", eol)
    assert inline(text, "nginx:1", "nginx:2") == text.replace("nginx:1", "nginx:2")
    assert inline(text, "1.9", "1.10") == text.replace("1.9", '"1.10"')


def test_a_value_inside_a_folded_patch_is_refused() -> None:
    with pytest.raises(Refused):
        inline(INLINE.replace("|-", ">-"), "nginx:1", "nginx:2")


def test_an_indentation_indicator_is_understood() -> None:
    text = "a:\n  b: |2\n     c: nginx:1\n"
    outer = ref(text, "a", "b")
    start = text.index("nginx:1")
    scalar = replace(outer, start=start, end=start + 7, value="nginx:1", inline=True)
    assert apply(text, replace(put(text, "x", "a", "b"), scalar=scalar, value="nginx:2")) == text.replace("x:1", "x:2")


# ---------------------------------------------------------------------- inserts into a mapping

ENTRY = ("images", 0)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("images:\n- name: a\n", "images:\n- name: a\n  newTag: v1\n"),
        ("images:\n- name: a", "images:\n- name: a\n  newTag: v1"),
        ("images:\n- name: a # c\n- name: b\n", "images:\n- name: a # c\n  newTag: v1\n- name: b\n"),
        ("images:\r\n  - name: a\r\n\r\nx: y\r\n", "images:\r\n  - name: a\r\n    newTag: v1\r\n\r\nx: y\r\n"),
        ("images:\r- name: a\r", "images:\r- name: a\r  newTag: v1\r"),
        ("images:\n-   name: a\n", "images:\n-   name: a\n    newTag: v1\n"),
        ("images:\n-\n  name: a\n", "images:\n-\n  name: a\n  newTag: v1\n"),
        ("images:\n- newName: b\n  name: a\n", "images:\n- newName: b\n  newTag: v1\n  name: a\n"),
        ('images:\n- name: "a"\n', 'images:\n- name: "a"\n  newTag: "v1"\n'),
        ("images:\n- name: 'a'\n", "images:\n- name: 'a'\n  newTag: 'v1'\n"),
        ('images:\n- "name": a\n', 'images:\n- "name": a\n  "newTag": v1\n'),
        ("images:\n- {name: a}\n", "images:\n- {name: a, newTag: v1}\n"),
        ("images:\n- {name: a, newName: b} # c\n", "images:\n- {name: a, newName: b, newTag: v1} # c\n"),
        ("images:\n- {name: a, }\n", "images:\n- {name: a, newTag: v1, }\n"),
        ('{"images":[{"name":"a"}]}', '{"images":[{"name":"a", "newTag": "v1"}]}'),
        ("images: [{\n  name: a,\n  newName: b\n}]\n", "images: [{\n  name: a,\n  newName: b,\n  newTag: v1\n}]\n"),
        ("images: [{\n  name: a # c\n}]\n", "images: [{\n  name: a, newTag: v1 # c\n}]\n"),
        ("images:\n- name: a\n...\n", "images:\n- name: a\n  newTag: v1\n...\n"),
        ("images:\n- name: a\n---\nb: c\n", "images:\n- name: a\n  newTag: v1\n---\nb: c\n"),
        ("images:\n- x: |\n    t\n  name: a\n", "images:\n- x: |\n    t\n  name: a\n  newTag: v1\n"),
        ("\ufeffimages:\n- name: a\n", "\ufeffimages:\n- name: a\n  newTag: v1\n"),
    ],
)
def test_a_missing_key_comes_in_the_files_own_style(before: str, after: str) -> None:
    assert apply(before, add(ENTRY, ("newTag", "v1"))) == after


def test_a_key_can_only_follow_a_block_scalar_when_nothing_else_is_there() -> None:
    assert apply("x: |\n  t\n\ny: 1\n", add((), ("k", "v"))) == "x: |\n  t\n\ny: 1\nk: v\n"
    assert apply("x: |\n  t\n\n", add((), ("k", "v"))) == "x: |\n  t\nk: v\n\n"
    assert apply("x: |+\n  t\n\n", add((), ("k", "v"))) == "x: |+\n  t\n\nk: v\n"
    assert apply("x: |-\n  t", add((), ("k", "v"))) == "x: |-\n  t\nk: v"


def test_two_keys_are_one_piece_and_two_edits() -> None:
    text = "images:\n- name: a\n  newName: b # c\n"
    changes = [add(ENTRY, ("newTag", "1.10"), ("digest", D))]
    assert apply(text, *changes) == text + f'  newTag: "1.10"\n  digest: {D}\n'
    assert [(e.field, e.old, e.new, e.kind, e.line) for e in edits_of(text, *changes)] == [
        ("images[0].newTag", None, "1.10", EditKind.INSERT, 3),
        ("images[0].digest", None, D, EditKind.INSERT, 3),
    ]


def test_helm_tags_go_behind_the_repository() -> None:
    text = "image:\n  repository: a/b\n  pullSecrets:\n    - x\n"
    assert (
        apply(text, add(("image",), ("tag", "v1"))) == "image:\n  repository: a/b\n  tag: v1\n  pullSecrets:\n    - x\n"
    )


@pytest.mark.parametrize(
    ("text", "parent", "words"),
    [
        ("a: {newTag: v0}\n", ("a",), "already"),
        ("a: b\n", ("a",), "no mapping"),
        ("a: b\n", ("x",), "no mapping"),
        ("a: &x {b: c}\nd: *x\n", ("a",), "alias"),
        ("a: &x {b: c}\nd: *x\n", ("d",), "alias"),
        ('a: [{b: c # {"$imagepolicy": "a:b"}\n}]\n', ("a", 0), "marker"),
    ],
)
def test_an_insert_that_has_no_clear_place_is_refused(text: str, parent: tuple[str | int, ...], words: str) -> None:
    with pytest.raises(Refused, match=words):
        apply(text, add(parent, ("newTag", "v1")))


# ---------------------------------------------------------------------- entries

NEW = (("name", "nx"), ("newTag", "1.10"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("images:\n- name: a\n", 'images:\n- name: a\n- name: nx\n  newTag: "1.10"\n'),
        ("images:\n- name: a", 'images:\n- name: a\n- name: nx\n  newTag: "1.10"'),
        ("images:\n  - name: a # c\nx: y\n", 'images:\n  - name: a # c\n  - name: nx\n    newTag: "1.10"\nx: y\n'),
        ("images:\n-   name: a\n\n\nx: y", 'images:\n-   name: a\n-   name: nx\n    newTag: "1.10"\n\n\nx: y'),
        (
            "images:\n- name: 'a'\n  newTag: '1'\n",
            "images:\n- name: 'a'\n  newTag: '1'\n- name: 'nx'\n  newTag: '1.10'\n",
        ),
        ("images:\r\n- {name: a}\r\n", 'images:\r\n- {name: a}\r\n- name: nx\r\n  newTag: "1.10"\r\n'),
        ("images: []\n", 'images: [{name: nx, newTag: "1.10"}]\n'),
        ("images: [] # c", 'images: [{name: nx, newTag: "1.10"}] # c'),
        ("images: [{name: a}]\n", 'images: [{name: a}, {name: nx, newTag: "1.10"}]\n'),
        (
            "images: [\n  {name: a},\n  {name: b}\n]\n",
            'images: [\n  {name: a},\n  {name: b},\n  {name: nx, newTag: "1.10"}\n]\n',
        ),
        ("images:\n", 'images:\n- name: nx\n  newTag: "1.10"\n'),
        ("images: # c\nx: y\n", 'images: # c\n- name: nx\n  newTag: "1.10"\nx: y\n'),
        ("images: null\n", 'images: [{name: nx, newTag: "1.10"}]\n'),
        ("x: y\n", 'x: y\nimages:\n- name: nx\n  newTag: "1.10"\n'),
        ("x: y", 'x: y\nimages:\n- name: nx\n  newTag: "1.10"'),
        ("x:\r\n  - y\r\n\r\n\r\n", 'x:\r\n  - y\r\nimages:\r\n  - name: nx\r\n    newTag: "1.10"\r\n\r\n\r\n'),
        ("x: y\n# end\n\n", 'x: y\n# end\nimages:\n- name: nx\n  newTag: "1.10"\n\n'),
        ("x: y\n...\n", 'x: y\nimages:\n- name: nx\n  newTag: "1.10"\n...\n'),
        ("x: y\n---\nz: 1\n", 'x: y\nimages:\n- name: nx\n  newTag: "1.10"\n---\nz: 1\n'),
        ("x: |\n  t\n\n", 'x: |\n  t\nimages:\n- name: nx\n  newTag: "1.10"\n\n'),
        ("x: |+\n  t\n\n", 'x: |+\n  t\n\nimages:\n- name: nx\n  newTag: "1.10"\n'),
        ("x: y\nz: |\n  t", 'x: y\nimages:\n- name: nx\n  newTag: "1.10"\nz: |\n  t'),
        ("x: |\n  t\n# c\n", 'x: |\n  t\n# c\nimages:\n- name: nx\n  newTag: "1.10"\n'),
        ("", 'images:\n- name: nx\n  newTag: "1.10"\n'),
        ("\ufeff", '\ufeffimages:\n- name: nx\n  newTag: "1.10"\n'),
        ("# c\n", '# c\nimages:\n- name: nx\n  newTag: "1.10"\n'),
        ("---\n", '---\nimages:\n- name: nx\n  newTag: "1.10"\n'),
        ("---", '---\nimages:\n- name: nx\n  newTag: "1.10"'),
        ("---\n# c\n...\n", '---\n# c\nimages:\n- name: nx\n  newTag: "1.10"\n...\n'),
        ("{}\n", '{images: [{name: nx, newTag: "1.10"}]}\n'),
        ("{x: y}\n", '{x: y, images: [{name: nx, newTag: "1.10"}]}\n'),
        ('{\n  "x": "y"\n}\n', '{\n  "x": "y",\n  "images": [{"name": "nx", "newTag": "1.10"}]\n}\n'),
        ("---\nx: y\n", '---\nx: y\nimages:\n- name: nx\n  newTag: "1.10"\n'),
    ],
)
def test_an_entry_comes_at_the_end_of_the_list_in_its_style(before: str, after: str) -> None:
    assert apply(before, add(("images",), *NEW, append=True)) == after


def test_a_list_below_another_key_is_made_there() -> None:
    text = "spec:\n  path: x\n  y:\n    - z\nother: 1\n"
    after = 'spec:\n  path: x\n  y:\n    - z\n  images:\n    - name: nx\n      newTag: "1.10"\nother: 1\n'
    assert apply(text, add(("spec", "images"), *NEW, append=True)) == after


def test_several_entries_come_in_order_and_the_same_one_once() -> None:
    for text in ("x: y\n", "images: []\n", "images:\n- name: a\n", "images:\n"):
        changes = [
            add(("images",), ("name", f"n{i}"), ("newTag", "v1"), append=True, policy=f"p{i}") for i in (1, 2, 1)
        ]
        new = apply(text, *changes)
        assert new.index("n1") < new.index("n2")
        assert new.count("n1") == 1
        head = "x: y\nimages:\n" if text == "x: y\n" else text
        if "[" not in text:
            assert new == head + "- name: n1\n  newTag: v1\n- name: n2\n  newTag: v1\n"
    (edit,) = edits_of("images:\n- name: a\n", changes[0])
    assert (edit.field, edit.new, edit.line) == ("images[1].newTag", "v1", 2)


def test_a_key_into_the_last_entry_and_a_new_entry_do_not_mix() -> None:
    text = "images:\n- name: a\n"
    wanted = text + "  newTag: v1\n- name: nx\n  newTag: v2\n"
    changes = [add(("images",), ("name", "nx"), ("newTag", "v2"), append=True), add(ENTRY, ("newTag", "v1"))]
    assert apply(text, *changes) == wanted
    assert apply(text, *reversed(changes)) == wanted


@pytest.mark.parametrize(
    "text", ["images: x\n", "images: {a: b}\n", "- a\n", "x\n", "a: &x []\nimages: *x\n", "images: ''\n"]
)
def test_an_entry_without_a_list_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        apply(text, add(("images",), *NEW, append=True))


# ---------------------------------------------------------------------- removals


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("images:\n- name: a\n  digest: d # c\n  x: y\n", "images:\n- name: a\n  x: y\n"),
        ("images:\n- name: a\n  digest: d\n", "images:\n- name: a\n"),
        ("images:\n- name: a\n  digest: d", "images:\n- name: a"),
        ("images:\r\n- name: a\r\n  digest: d\r\nx: y", "images:\r\n- name: a\r\nx: y"),
        ("images:\r\n- name: a\r\n  digest: d", "images:\r\n- name: a"),
        ("images:\n- digest: d\n  name: a\n", "images:\n- name: a\n"),
        ("images:\n- {name: a, digest: d}\n", "images:\n- {name: a}\n"),
        ("images:\n- {digest: d, name: a}\n", "images:\n- {name: a}\n"),
        ("images:\n- {name: a, digest: d, x: y}\n", "images:\n- {name: a, x: y}\n"),
        ('{"images":[{"name":"a","digest":"d"}]}', '{"images":[{"name":"a"}]}'),
        ("images: [{name: a, # c\n  digest: d, x: y}]\n", "images: [{name: a, # c\n  x: y}]\n"),
        ("images: [{name: a, # c\n  digest: d}]\n", "images: [{name: a, # c\n  }]\n"),
    ],
)
def test_a_removal_takes_the_pair_and_its_line(before: str, after: str) -> None:
    assert apply(before, drop(before, "images", 0, "digest")) == after


@pytest.mark.parametrize(
    "text",
    [
        "images:\n- digest: d\n",
        "images:\n- {digest: d}\n",
        "images:\n- digest: d\n  # c\n  name: a\n",
        "images:\n- name: a\n  digest: &x d\n",
    ],
)
def test_a_removal_that_would_leave_a_ruin_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        apply(text, drop(text, "images", 0, "digest"))


def test_a_tag_comes_where_a_digest_goes() -> None:
    for before, after in [
        ("images:\n- name: a\n  digest: d\n", "images:\n- name: a\n  newTag: v1\n"),
        ("images:\n- name: a\n  digest: d", "images:\n- name: a\n  newTag: v1"),
        ("images: [{name: a, digest: d}]\n", "images: [{name: a, newTag: v1}]\n"),
        ("images:\n- digest: d\n  name: a\n", "images:\n- name: a\n  newTag: v1\n"),
    ]:
        assert apply(before, drop(before, "images", 0, "digest"), add(ENTRY, ("newTag", "v1"))) == after


def test_a_removal_reports_the_old_value() -> None:
    text = "images:\n- name: a\n  digest: d\n"
    (edit,) = edits_of(text, drop(text, "images", 0, "digest"))
    assert (edit.kind, edit.field, edit.line, edit.old, edit.new, edit.text) == (
        EditKind.REMOVE,
        "images[0].digest",
        3,
        "d",
        None,
        "",
    )


# ---------------------------------------------------------------------- several changes


def test_the_same_change_twice_is_one_and_a_contradiction_names_both() -> None:
    text = "v: a\n"
    assert len(edits_of(text, put(text, "b", "v", policy="p1"), put(text, "b", "v", policy="p2"))) == 1
    with pytest.raises(Refused, match=r"p1 wants 'b', p2 wants 'c'"):
        edits_of(text, put(text, "b", "v", policy="p1"), put(text, "c", "v", policy="p2"))
    two = "v: a\nw: b\n"
    with pytest.raises(Refused, match="removed"):
        edits_of(two, put(two, "b", "v"), drop(two, "v"))
    with pytest.raises(Refused, match=r"p1 wants newTag: x; p2 wants newTag: y"):
        edits_of(two, add((), ("newTag", "x"), policy="p1"), add((), ("newTag", "y"), policy="p2"))
    with pytest.raises(Refused, match=r"p1.*p2"):
        edits_of(
            two,
            add(("images",), ("name", "x"), ("newTag", "1"), append=True, policy="p1"),
            add(("images",), ("name", "x"), ("newTag", "2"), append=True, policy="p2"),
        )


def test_edits_come_in_the_order_of_files_and_places() -> None:
    text = "v: a\nw: b\n"
    changes = [put(text, "z", "w"), put(text, "x", "v")]
    others = [
        replace(c, file="0.yaml", scalar=replace(ref(text, k), file="0.yaml"))
        for c, k in zip(changes, "wv", strict=True)
    ]
    edits = write({FILE: text, "0.yaml": text}, [*changes, *others])
    assert [(e.file, e.line) for e in edits] == [("0.yaml", 1), ("0.yaml", 2), (FILE, 1), (FILE, 2)]
    assert isinstance(edits[0], Edit)


def test_documents_are_told_apart() -> None:
    text = "v: a\n---\nv: b\n"
    assert apply(text, put(text, "c", "v", document=1)) == "v: a\n---\nv: c\n"
    assert (
        apply(text, add((), ("k", "x"), document=0), add((), ("k", "z"), document=1)) == "v: a\nk: x\n---\nv: b\nk: z\n"
    )
    with pytest.raises(Refused, match="no document 2"):
        apply(text, add((), ("k", "x"), document=2))
