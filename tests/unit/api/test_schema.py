"""The definitions never refuse what the parser accepts, and write no default that it does not have itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
import re2
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from image_updater import api
from image_updater.api.durations import parse_duration
from image_updater.api.fields import Planned
from image_updater.api.kinds import KINDS
from image_updater.api.model import API_VERSION
from image_updater.api.schema import DURATION, PATTERNS, crd, crds

CHARACTERS = st.sampled_from("abzAZ019-_./:@[]~^*?\\ \tµßé{}$+=sha256")
CHECKS = sorted(PATTERNS, key=lambda check: check.__name__)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_pattern_passes_what_its_check_passes(check: Any) -> None:
    pattern, longest = PATTERNS[check]
    compiled = re2.compile(pattern)

    @given(st.text(CHARACTERS, min_size=1, max_size=12) | st.from_regex(pattern.replace("$", r"\Z"), fullmatch=True))
    @example("a" * 63)
    @example("a" * 128)
    @example(".".join(["a" * 63] * 3) + "." + "a" * 61)
    @example("f" * 40)
    @example("f" * 64)
    @example("sha512:" + "0" * 128)
    @example("[2001:db8::1]:5000/a/b")
    @example("localhost:5000/" + "a" * 497)
    @example("git@example.com:a/b.git")
    @example("apps/ü/web")
    @example("/".join(["a" * 253, "b" * 63]))
    def law(text: str) -> None:
        if check(text) is None:
            assert compiled.search(text), text
            assert longest is None or len(text) <= longest

    law()


@given(
    st.text("0123456789.+-nuµμmsh", max_size=20)
    | st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(["ns", "us", "µs", "μs", "ms", "s", "m", "h"]))).map(
        lambda parts: "".join(f"{number}{unit}" for number, unit in parts)
    )
)
@example("1.s")
@example(".5h")
@example("0")
@example("2562047h47m16.854775807s")
def test_the_pattern_of_durations_passes_what_go_reads(text: str) -> None:
    try:
        parse_duration(text)
    except ValueError:
        return
    assert re2.search(DURATION, text), text


MINIMAL: dict[str, dict[str, Any]] = {
    "ImagePolicy": {
        "image": "web",
        "policy": {"newest": {}},
        "filterTags": {"pattern": "a"},
        "windows": [{"cron": "* * * * *", "duration": "1h"}],
        "after": {"name": "b"},
        "verify": {"secretRef": {"name": "k"}},
    },
    "GitRepository": {"url": "https://git.example.com/a.git", "verify": {"secretRef": {"name": "keys"}}},
    "ImageUpdateAutomation": {
        "sourceRef": {"name": "fleet"},
        "update": {},
        "batch": {},
        "git": {"commit": {"author": {}}},
    },
    "Kustomization": {"sourceRef": {"name": "fleet"}, "rollback": {}, "commonMetadata": {}},
}
"""Specs into which a server fills defaults; those of other kinds have none."""


def defaulted(value: Any, schema: dict[str, Any]) -> Any:
    """What a server makes of an object: defaults of absent fields, in objects that are there."""
    if isinstance(value, list):
        return [defaulted(each, schema.get("items", {})) for each in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    result = {name: defaulted(each, schema["properties"].get(name, {})) for name, each in value.items()}
    for name, each in schema["properties"].items():
        if "default" in each:
            result.setdefault(name, each["default"])
    return result


@pytest.mark.parametrize("kind", MINIMAL)
def test_what_the_server_fills_in_is_what_the_parser_takes_for_granted(kind: str) -> None:
    schema = crd(KINDS[kind])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    given_spec = MINIMAL[kind]
    filled = defaulted(given_spec, schema)
    assert filled != given_spec

    def load(spec: Any) -> Any:
        return api.load_text(
            json.dumps({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "a"}, "spec": spec})
        )

    assert load(filled) == load(given_spec)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in MINIMAL])
def test_the_server_fills_nothing_into_the_other_kinds(kind: str) -> None:
    schema = crd(KINDS[kind])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert [path for path, each in schemas(schema, "spec") if "default" in each] == []


def schemas(schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)]
    for name, each in schema.get("properties", {}).items():
        found += schemas(each, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in schema:
            found += schemas(schema[name], f"{path}[]")
    return found


@pytest.mark.parametrize("definition", crds(), ids=lambda each: each["spec"]["names"]["plural"])
def test_a_definition_keeps_unknown_fields_of_spec_and_describes_the_known(definition: dict[str, Any]) -> None:
    whole = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for path, schema in schemas(whole["properties"]["spec"], "spec"):
        if "properties" in schema:
            assert schema["x-kubernetes-preserve-unknown-fields"] is True, path
    for path, schema in schemas(whole):
        for name, each in schema.get("properties", {}).items():
            if path or name in ("spec", "status"):
                assert each["description"].endswith("."), f"{path}.{name}"
        if schema.get("type") == "array":
            assert schema["x-kubernetes-list-type"] == "atomic", path


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda each: each.name)
def test_what_is_not_built_yet_stands_in_no_definition(kind: Any) -> None:
    schema = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    built = {each.name for each in kind.spec.fields if not isinstance(each.type, Planned)}
    assert set(schema["properties"]) == built


def test_a_definition_fits_the_annotation_of_a_client_side_apply() -> None:
    # kubectl keeps the whole object in an annotation, and annotations have 256 KiB.
    assert all(len(json.dumps(each)) < 100_000 for each in crds())


def test_short_names_are_none_of_fluxs_and_each_calls_are_values_of_its_own() -> None:
    flux = {"gitrepo", "imgrepo", "imgpol", "iua", "ks", "hr", "helmrepo", "hc", "ocirepo"}
    short = [name for each in crds() for name in each["spec"]["names"]["shortNames"]]
    assert len(short) == len(set(short))
    assert not flux & set(short)
    first = crds()
    first[0]["metadata"]["labels"]["x"] = "y"
    assert yaml.safe_dump(crds()[0]) != yaml.safe_dump(first[0])
