"""YAML to JSON values as kubectl reads it: the table is what sigs.k8s.io/yaml 1.6 answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from image_updater.errors import DocumentError
from image_updater.sync.reading import MAX_DEPTH, read

SCALARS: dict[str, Any] = {
    **dict.fromkeys(("yes", "Yes", "YES", "y", "Y", "on", "On", "ON", "true", "True", "TRUE"), True),
    **dict.fromkeys(("no", "No", "NO", "n", "N", "off", "Off", "OFF", "false", "False", "FALSE"), False),
    **dict.fromkeys(("~", "null", "Null", "NULL", ""), None),
    **{word: word for word in ("tRue", "yES", "nUll", "nan", "inf", "infinity", "Infinity", "=", "+", "a:b")},
    # Integers: sign, underscores anywhere, three prefixes, and octal by a leading zero where all digits are octal.
    "0": 0, "-0": 0, "+1": 1, "007": 7, "00": 0, "0_": 0, "1_": 1, "1__0": 10, "1_000": 1000, "014": 12, "-014": -12,
    "0o14": 12, "-0o14": -12, "0O7": 7, "0x1F": 31, "0X1f": 31, "-0x1F": -31, "0x_1F": 31, "0b11": 3, "+0b1": 1,
    "-0b101": -5, "08": 8, "089": 89, "0888": 888,
    "9223372036854775808": 9223372036854775808, "18446744073709551615": 18446744073709551615,
    "-9223372036854775808": -9223372036854775808, "0x8000000000000000": 9223372036854775808,
    "01777777777777777777777": 18446744073709551615,
    # Beyond 64 bits they are floats, if they can be read as such.
    "18446744073709551616": 18446744073709551616, "12345678901234567890123": 1.2345678901234568e22,
    "07777777777777777777777777": 7.777777777777778e24,
    "0xFFFFFFFFFFFFFFFFF": "0xFFFFFFFFFFFFFFFFF", "-0x8000000000000001": "-0x8000000000000001",
    # No integers.
    "0o8": "0o8", "0o": "0o", "0x": "0x", "0xG": "0xG", "0b": "0b", "0b12": "0b12", "_1": "_1", "__": "__",
    "1,000": "1,000", "0x1p4": "0x1p4", "1.2.3": "1.2.3",
    # Floats; whole ones are integers in JSON.
    "1e3": 1000, "1E3": 1000, "1.e3": 1000, "1.": 1, "1.0": 1, "1.50": 1.5, ".5": 0.5, "+.5": 0.5, "-.5": -0.5,
    "1_0.5": 10.5, ".1_0": 0.1, "1e1_0": 10_000_000_000, "685.230_15e+03": 685230.15, "1e-7": 1e-7, "1e20": 10**20,
    "1e21": 1e21, "0.0": 0, "-0.0": 0, "5e-324": 5e-324, "1e-400": 0, "123456789.123456789": 123456789.12345679,
    "1e400": "1e400", "-1e400": "-1e400", "1e": "1e", "1e+": "1e+", ".e3": ".e3", "+e3": "+e3", "._": "._",
    # Dates and base 60 stay what they are.
    "1:30": "1:30", "190:20:30": "190:20:30", "190:20:30.15": "190:20:30.15", "2024-01-01": "2024-01-01",
    "2024-1-2": "2024-1-2", "2001-12-14t21:59:43.10-05:00": "2001-12-14t21:59:43.10-05:00",
    # Tags and quotes.
    "!!str 12": "12", '!!int "12"': 12, "!!float 3": 3, '!!float "1.5"': 1.5, "!!bool yes": True, "!!null ''": None,
    "!!binary aGVsbG8=": "hello", "!!binary gIGC": "\ufffd\ufffd\ufffd", "!!timestamp 2001-01-01": "2001-01-01",
    "! 12": "12", "!foo 12": "12", "'yes'": "yes", '"12"': "12", '"a\\0b"': "a\0b", "!!str": "",
}  # fmt: skip


def one(text: str) -> Any:
    (document,) = read(text.encode())
    return document.value


@pytest.mark.parametrize(("text", "value"), SCALARS.items(), ids=[repr(text) for text in SCALARS])
def test_a_scalar_is_what_kubectl_reads(text: str, value: Any) -> None:
    found = one(f"a: {text}\n")["a"]
    assert found == value
    assert isinstance(found, bool) == isinstance(value, bool)
    assert isinstance(found, str) == isinstance(value, str)


def test_a_whole_float_is_an_integer_in_json() -> None:
    assert json.dumps(one("a: [1.0, 1e3, 1e20, 2.5, 1e21]\n")) == '{"a": [1, 1000, 100000000000000000000, 2.5, 1e+21]}'


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("1", "1"),
        ("1.5", "1.5"),
        ("yes", "true"),
        ("0x1F", "31"),
        ("1_000", "1000"),
        ("2024-01-01", "2024-01-01"),
        ("'1'", "1"),
    ],
)
def test_keys_are_strings(text: str, key: str) -> None:
    assert one(f"{text}: x\n") == {key: "x"}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' stands twice"),
        ("{a: 1, a: 2}\n", 1, "the key 'a' stands twice"),
        ("yes: a\ntrue: b\n", 2, "the key 'true' stands twice"),
        ("a: 1\n~: b\n", 2, "a key must be a scalar"),
        ("[a]: b\n", 1, "a key must be a scalar"),
        ("a: .inf\n", 1, "no number that JSON has"),
        ("a: 1\nb: -.Inf\n", 2, "no number that JSON has"),
        ("a: .NaN\n", 1, "no number that JSON has"),
        ("a: !!int 1.5\n", 1, "!!int"),
        ("a: !!bool 1\n", 1, "!!bool"),
        ("a: !!null x\n", 1, "!!null"),
        ("a: !!binary x\n", 1, "!!binary"),
        ("a: *nope\n", 1, "names no anchor"),
        ("a: &x [*x]\n", 1, "names no anchor"),
        ("a: &x 1\n---\nb: *x\n", 3, "names no anchor"),
        ("a: 1\n<<: 2\n", 2, "a merge key"),
        ("a: {\n", 2, "not valid YAML"),
        ("a: b: c\n", 1, "not valid YAML"),
        ("a: 1\n\tb: 2\n", 2, "not valid YAML"),
        ("a: 1\nb: \0\n", 2, "not valid YAML"),
    ],
)  # fmt: skip
def test_an_error_names_the_line(text: str, line: int, words: str) -> None:
    with pytest.raises(DocumentError, match=words.replace("(", r"\(")) as caught:
        read(text.encode(), file="deploy/web.yaml")
    assert caught.value.where.line == line
    assert caught.value.where.file == "deploy/web.yaml"


def test_bytes_that_are_no_utf8_are_an_error_with_their_line() -> None:
    with pytest.raises(DocumentError, match="not valid YAML") as caught:
        read(b"a: 1\nb: \xff\xfe\n")
    assert caught.value.where.line == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("b: &x {c: 1}\na: *x\n", {"b": {"c": 1}, "a": {"c": 1}}),
        ("b: &x {c: 1}\na: {<<: *x, d: 2}\n", {"b": {"c": 1}, "a": {"c": 1, "d": 2}}),
        ("b: &x {c: 1}\na: {<<: *x, c: 2}\n", {"b": {"c": 1}, "a": {"c": 2}}),
        ("a:\n  c: 2\n  <<: {c: 5, d: 6}\n", {"a": {"c": 2, "d": 6}}),
        ("a: {<<: [{c: 1}, {c: 2, e: 3}]}\n", {"a": {"c": 1, "e": 3}}),
        ("'<<': {a: 1}\n", {"<<": {"a": 1}}),
        ("a: [<<]\n", {"a": ["<<"]}),
        ("a: <<\n", {"a": "<<"}),
        ("a: &x yes\nb: *x\n", {"a": True, "b": True}),
        ("a: [&x 1, &x 2, *x]\n", {"a": [1, 2, 2]}),
    ],
)
def test_anchors_and_merge_keys(text: str, value: Any) -> None:
    assert one(text) == value


def test_what_an_alias_repeats_is_not_shared() -> None:
    value = one("a: &x {c: 1}\nb: *x\n")
    value["a"]["c"] = 2
    assert value["b"] == {"c": 1}


def test_aliases_that_expand_without_end_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(DocumentError, match="aliases expand to more than"):
        read("\n".join(lines).encode())


def test_nesting_beyond_the_limit_is_refused() -> None:
    assert one("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None
    with pytest.raises(DocumentError, match="nested more than"):
        read(("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)).encode())


def test_documents_know_where_they_begin_and_empty_ones_are_left_out() -> None:
    found = read(b"# comment\n---\n---\na: 1\n---\n# nothing\n---\n\nb: 2\n...\n---\nnull\n")
    assert [(document.value, document.line) for document in found] == [({"a": 1}, 4), ({"b": 2}, 9)]
    assert read(b"") == []


def test_json_is_yaml() -> None:
    assert one('{"a": [1, "x", null, true, {"b": 1.5}]}') == {"a": [1, "x", None, True, {"b": 1.5}]}


_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]))
_KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=50)  # YAML's end at 1,024 bytes
_NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(-1e15, 1e15)
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXT,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(_KEYS, children, max_size=4),
    max_leaves=12,
)
_LOOKS_LIKE_A_NUMBER = st.text("0123456789+-._:eExob ynofrultas~=<", max_size=7)


@given(st.dictionaries(st.text("abc<", max_size=3), _JSON, min_size=1))
def test_every_json_value_comes_back(value: dict[str, Any]) -> None:
    assert one(json.dumps(value)) == value
    assert one(json.dumps(value, ensure_ascii=False, indent=1)) == value


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), _LOOKS_LIKE_A_NUMBER, min_size=1))
def test_every_quoted_string_comes_back(value: dict[str, str]) -> None:
    assert one(yaml.safe_dump(value, default_style='"')) == value
    assert one(yaml.safe_dump(value, default_style="'")) == value
