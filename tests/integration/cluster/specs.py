"""Specs of our kinds, drawn from their own field tables: whatever a field may hold, most of it legal."""

from __future__ import annotations

from datetime import timedelta
from functools import singledispatch
from typing import Any

from hypothesis import strategies as st

from image_updater.api.durations import format_duration
from image_updater.api.fields import Choice, Duration, Flag, ListOf, MapOf, Planned, Struct, Text, Type
from image_updater.api.scalars import Instant, Number

WORDS = (
    *(
        "a",
        "web",
        "web-1",
        "a.b",
        "apps",
        "a" * 63,
        "A",
        "a_b",
        "ü",
        "a b",
        "1.10",
        "1",
        "true",
        "~",
        "-",
        "/",
        "a/b",
        "./a/",
    ),
    *(
        "../a",
        "v1.2.3",
        "x" * 128,
        "sha256:" + "0" * 64,
        "0" * 40,
        "ghcr.io/acme/web",
        "localhost:5000/a",
        "acme.dev/team",
    ),
    *(
        "https://git.example.com/a.git",
        "git@example.com:a.git",
        "file:///srv/a",
        "a@b.c",
        "^v(?P<x>.*)$",
        "$x",
        "$1",
        "^1.2",
    ),
    *(
        "**/x",
        "*.yml",
        "main",
        "release-1.2",
        "\t",
        "\u2028",
        "\x7f",
        "é" * 300,
        "{{ x }}",
        "0 9 * * 1-5",
        "Europe/Berlin",
        "linux/amd64",
        "linux/arm/v7",
        "fromNodes",
        "https://slsa.dev/provenance/v1",
        "",
        "a: b",
        "- a",
        "#",
        "'",
        '"',
    ),
)


def spec(struct: Struct) -> st.SearchStrategy[dict[str, Any]]:
    """A spec: each field is there or not, and is sound or nearly so."""
    required = {each.name: value(each.type) for each in struct.fields if each.required}
    optional = {each.name: value(each.type) | st.none() for each in struct.fields if not each.required}
    if struct.one_of is not None:
        beside = {each.name: value(each.type) for each in struct.fields if each.name in struct.beside}
        return st.sampled_from([each for each in struct.fields if each.name not in struct.beside]).flatmap(
            lambda each: st.fixed_dictionaries({each.name: value(each.type)}, optional=beside)
        )
    return st.fixed_dictionaries(required, optional=optional)


@singledispatch
def value(kind: Type) -> st.SearchStrategy[Any]:
    raise TypeError(f"nothing is drawn for {type(kind).__name__}")


@value.register
def _(kind: Text) -> st.SearchStrategy[Any]:
    fitting = [word for word in WORDS if kind.check is None or kind.check(word) is None]
    return st.sampled_from(fitting or WORDS) | (st.just("") if kind.empty else st.nothing())


@value.register
def _(_: Flag) -> st.SearchStrategy[Any]:
    return st.booleans()


@value.register
def _(kind: Duration) -> st.SearchStrategy[Any]:
    most = kind.maximum or timedelta(days=3_000)
    exact = st.timedeltas(min_value=kind.minimum, max_value=most).map(format_duration)
    odd = st.sampled_from(["+1m", "1h1h", ".5h", "1.s", "90000ms", "1µs", "0", "-1s"])
    return exact | odd


@value.register
def _(kind: Number) -> st.SearchStrategy[Any]:
    return st.integers(kind.minimum, kind.maximum)


@value.register
def _(_: Instant) -> st.SearchStrategy[Any]:
    return st.sampled_from(
        [
            "2026-01-01T00:00:00Z",
            "2026-01-01t23:59:60z",
            "2026-06-30 12:00:00.123456789+02:00",
            "2027-01-01T00:00:00-00:00",
        ]
    )


@value.register
def _(kind: Choice) -> st.SearchStrategy[Any]:
    return st.sampled_from([*(word.value for word in kind.words if word.value not in kind.later), False])


@value.register
def _(kind: ListOf) -> st.SearchStrategy[Any]:
    return st.lists(value(kind.item), max_size=3)


@value.register
def _(kind: MapOf) -> st.SearchStrategy[Any]:
    return st.dictionaries(value(kind.key), value(kind.value) | st.none(), max_size=3)


@value.register
def _(_: Planned) -> st.SearchStrategy[Any]:
    return st.sampled_from([0, "0s", [], "", {}, False])


@value.register
def _(kind: Struct) -> st.SearchStrategy[Any]:
    return spec(kind) | (st.just({}) if kind.optional_empty else st.nothing())
