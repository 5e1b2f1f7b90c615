"""The algebra of field sets by its laws, and what is taken over from whom."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater.sync.drift import LAST_APPLIED
from image_updater.sync.fields import HEIR, REPLICAS, covered, hand_over, own_fields, subtract, take_over, union
from image_updater.sync.model import MANAGER

Fields = dict[str, Any]
Paths = set[tuple[str, ...]]


def paths(fields: Fields, above: tuple[str, ...] = ()) -> Paths:
    """The set that a nested mapping stands for: what the format means, in the plainest form."""
    found: Paths = set()
    for name, members in fields.items():
        if name == ".":
            continue
        if not members or "." in members:
            found.add((*above, name))
        found |= paths(members, (*above, name))
    return found


_NAMES = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"', "i:0"])


def _node(children: st.SearchStrategy[Fields]) -> st.SearchStrategy[Fields]:
    members = st.dictionaries(_NAMES, children, min_size=1, max_size=3)
    return members | members.map(lambda found: {".": {}, **found})


_NODES = st.recursive(st.just({}), _node, max_leaves=8)
_FIELDS = st.dictionaries(_NAMES, _NODES, max_size=4)


@given(_FIELDS, _FIELDS)
def test_union_and_subtract_are_those_of_the_sets(left: Fields, right: Fields) -> None:
    before = copy.deepcopy((left, right))
    assert paths(union(left, right)) == paths(left) | paths(right)
    assert paths(subtract(left, right)) == paths(left) - paths(right)
    assert (left, right) == before


@given(_FIELDS, _FIELDS)
def test_what_is_computed_is_written_as_a_server_would(left: Fields, right: Fields) -> None:
    """No empty nodes, and a node that is only itself is `{}`: equal sets are equal values."""

    def legal(node: Fields) -> bool:
        return list(node) != ["."] and all(name == "." or legal(child) for name, child in node.items())

    for fields in (union(left, right), subtract(left, right)):
        assert all(legal(child) for child in fields.values())
    assert union(left, right) == union(right, left)
    assert union(left, left) == left
    assert subtract(union(left, right), right) == subtract(left, right)
    assert subtract(left, {}) == left
    assert subtract(left, left) == {}


LIVE = {
    "metadata": {"labels": {"a": "1"}},
    "spec": {
        "containers": [{"name": "web", "image": "i", "ports": [{"containerPort": 80}]}, {"name": "other"}],
        "finalizers": ["x"],
        "list": [5, 6],
        "gone": None,
    },
}
WEB, PORT = 'k:{"name":"web"}', 'k:{"containerPort":80,"protocol":"TCP"}'


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"f:metadata": {"f:labels": {".": {}, "f:a": {}, "f:b": {}}}},
         {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}),
        ({"f:spec": {"f:missing": {}}}, {}),
        ({"f:spec": {"f:gone": {}}}, {"f:spec": {"f:gone": {}}}),
        ({"f:spec": {"f:missing": {".": {}, "f:x": {}}}}, {}),
        ({"f:spec": {"f:list": {"i:1": {}, "i:2": {}}}}, {"f:spec": {"f:list": {"i:1": {}}}}),
        ({"f:spec": {"f:finalizers": {'v:"x"': {}, 'v:"y"': {}}}}, {"f:spec": {"f:finalizers": {'v:"x"': {}}}}),
        ({"f:spec": {"f:containers": {WEB: {"f:image": {}, "f:tty": {}}}}},
         {"f:spec": {"f:containers": {WEB: {"f:image": {}}}}}),
        ({"f:spec": {"f:containers": {'k:{"name":"gone"}': {"f:image": {}}}}}, {}),
        ({"f:spec": {"f:containers": {WEB: {"f:ports": {PORT: {".": {}, "f:containerPort": {}, "f:protocol": {}}}}}}},
         {"f:spec": {"f:containers": {WEB: {"f:ports": {PORT: {".": {}, "f:containerPort": {}}}}}}}),
        ({"f:spec": {"f:list": {".": {}, "i:7": {}}}}, {"f:spec": {"f:list": {}}}),
        ({"f:metadata": {"i:0": {}, WEB: {}, 'v:"x"': {}, "x:y": {}}}, {}),
    ],
)  # fmt: skip
def test_covered_is_what_an_object_has(fields: Fields, kept: Fields) -> None:
    assert covered(fields, LIVE) == kept


# ------------------------------------------------------------------------------------------- taking over


def entry(manager: str, operation: str, fields: Fields, **more: Any) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": fields, "time": "2026-01-01T00:00:00Z", **more}  # fmt: skip


A, B, C = ({"f:spec": {f"f:{name}": {}}} for name in "abc")
OURS = entry(MANAGER, "Apply", A)


def after(*entries: dict[str, Any], managers: tuple[str, ...] = (), **options: Any) -> list[dict[str, Any]] | None:
    patch = take_over(entries, managers, **options)
    if patch is None:
        return None
    assert patch[0]["op"] == "replace"
    assert patch[0]["path"] == "/metadata/managedFields"
    value: list[dict[str, Any]] = patch[0]["value"]
    return value


@pytest.mark.parametrize(
    ("manager", "operation"),
    [
        ("kubectl", "Apply"),
        ("kustomize-controller", "Apply"),
        ("argocd-controller", "Apply"),
        ("kubectl-last-applied", "Apply"),
        ("kubectl-client-side-apply", "Update"),
        ("kubectl-autoscale", "Update"),
        ("kubectl-create", "Update"),
        ("kubectl-expose", "Update"),
        ("kubectl-run", "Update"),
        ("kubectl-replace", "Update"),
        ("kubectl", "Update"),
        ("argocd-controller", "Update"),
        ("kubectl-edit", "Update"),
        ("kubectl-patch", "Update"),
        ("kubectl-set", "Update"),
        ("helm", "Apply"),
        ("helm", "Update"),
    ],
)
def test_these_are_taken_over(manager: str, operation: str) -> None:
    found = after(OURS, entry(manager, operation, B), managers=("helm",))
    assert found is not None
    assert [(each["manager"], each["operation"]) for each in found] == [(MANAGER, "Apply")]
    assert found[0]["fieldsV1"] == {"f:spec": {"f:a": {}, "f:b": {}}}


@pytest.mark.parametrize(
    "other",
    [
        entry("helm", "Apply", B),
        entry("kube-controller-manager", "Update", B),
        entry("kubectl-client-side-apply", "Apply", B),
        entry("kubectl-rollout", "Update", B),
        entry("kubectl-annotate", "Update", B),
        entry("kubectl-label", "Update", B),
        entry("kubectl-client-side-apply", "Update", B, subresource="scale"),
        entry("kubectl-edit", "Update", {"f:status": {"f:x": {}}}),
        entry("kubectl", "Apply", B, fieldsType="FieldsV2"),
        entry(MANAGER, "Update", B),
        entry(MANAGER, "Apply", B, subresource="status"),
        entry("before-first-apply", "Update", B),
    ],
    ids=lambda each: f"{each['manager']} {each['operation']} {each.get('subresource', '')}".strip(),
)
def test_these_are_not(other: dict[str, Any]) -> None:
    assert after(OURS, other) is None


def test_nothing_to_take_is_no_request() -> None:
    assert take_over(None) is None
    assert take_over([]) is None
    assert take_over([OURS]) is None
    assert take_over([entry("kubectl-edit", "Update", B)], editors=False) is None


def test_without_an_entry_of_ours_the_others_becomes_ours() -> None:
    found = after(entry("kubectl", "Apply", A, apiVersion="apps/v1"), entry("other", "Update", C))
    assert found is not None
    assert found[0] == entry(MANAGER, "Apply", A, apiVersion="apps/v1")
    assert found[1] == entry("other", "Update", C)


def test_our_entry_keeps_its_version() -> None:
    found = after(entry("kubectl", "Apply", B, apiVersion="v1beta1"), OURS)
    assert found is not None
    assert found[0]["apiVersion"] == "v1"


def test_status_in_an_entry_stays_with_its_manager() -> None:
    status = {"f:status": {"f:phase": {}}}
    found = after(entry("kubectl-edit", "Update", {**B, **status}))
    assert found is not None
    assert [(each["manager"], each["fieldsV1"]) for each in found] == [(MANAGER, B), ("kubectl-edit", status)]


def test_replicas_of_an_autoscaler_stay_with_their_manager() -> None:
    both = {"f:spec": {"f:replicas": {}, "f:b": {}}}
    found = after(entry("kubectl", "Apply", both), leave=REPLICAS)
    assert found is not None
    assert [(each["manager"], each["fieldsV1"]) for each in found] == [(MANAGER, B), ("kubectl", REPLICAS)]
    assert after(entry("kubectl", "Apply", dict(REPLICAS)), leave=REPLICAS) is None


APPLIED = json.dumps(
    {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x", "annotations": None}, "spec": {"b": 1}}
)


def test_of_before_first_apply_only_what_kubectl_applied_is_taken() -> None:
    annotation = {"f:metadata": {"f:annotations": {f"f:{LAST_APPLIED}": {}, "f:controllers": {}}}}
    everything = {**annotation, "f:spec": {"f:b": {}, "f:volumeName": {}}}
    found = after(entry("before-first-apply", "Update", everything), last_applied=APPLIED)
    assert found is not None
    assert found[0]["fieldsV1"] == {"f:metadata": {"f:annotations": {f"f:{LAST_APPLIED}": {}}}, **B}
    assert found[1]["fieldsV1"] == {
        "f:metadata": {"f:annotations": {"f:controllers": {}}},
        "f:spec": {"f:volumeName": {}},
    }


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"metadata": null}', "5"])
def test_a_damaged_annotation_takes_nothing(text: str) -> None:
    assert after(entry("before-first-apply", "Update", B), last_applied=text) is None


def test_a_patch_names_the_version_it_was_made_of() -> None:
    patch = take_over([entry("kubectl", "Apply", A)], resource_version="17")
    assert patch is not None
    assert patch[1:] == [{"op": "replace", "path": "/metadata/resourceVersion", "value": "17"}]


_MANAGERS = st.sampled_from([MANAGER, "kubectl", "kubectl-edit", "helm", "other"])
_WRITES = st.dictionaries(st.tuples(_MANAGERS, st.sampled_from(["Apply", "Update"])), _FIELDS, max_size=5)


@given(_WRITES)
def test_no_field_loses_its_last_manager(writes: dict[tuple[str, str], Fields]) -> None:
    entries = [entry(manager, operation, fields) for (manager, operation), fields in writes.items()]
    found = after(*entries, managers=("helm",))
    if found is None:
        return
    assert set().union(*(paths(each["fieldsV1"]) for each in found)) == set().union(
        *(paths(each["fieldsV1"]) for each in entries)
    )
    assert take_over(found, ("helm",)) is None
    assert sum(each["manager"] == MANAGER and each["operation"] == "Apply" for each in found) == 1


# ------------------------------------------------------------------------------------------- handing over, hashes


def test_replicas_are_handed_over_once() -> None:
    ours = entry(MANAGER, "Apply", {"f:spec": {"f:replicas": {}, "f:a": {}}})
    other = entry("kubectl", "Update", C)
    patch = hand_over([ours, other], REPLICAS, resource_version="3")
    assert patch is not None
    found = patch[0]["value"]
    assert [(each["manager"], each["operation"], each["fieldsV1"]) for each in found] == [
        (MANAGER, "Apply", A),
        (HEIR, "Update", REPLICAS),
        ("kubectl", "Update", C),
    ]
    assert patch[1]["value"] == "3"
    assert hand_over(found, REPLICAS) is None
    assert hand_over([other], REPLICAS) is None
    assert hand_over(None, REPLICAS) is None


def test_an_heir_inherits_a_second_time() -> None:
    ours = entry(MANAGER, "Apply", {"f:spec": {"f:replicas": {}, "f:a": {}}})
    patch = hand_over([entry(HEIR, "Update", B), ours], REPLICAS)
    assert patch is not None
    assert patch[0]["value"][1]["fieldsV1"] == {"f:spec": {"f:b": {}, "f:replicas": {}}}


def body(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"managedFields": list(entries)}}


def test_a_hash_is_of_our_apply_entry_only() -> None:
    assert own_fields({}) == own_fields(body()) == own_fields(body(entry("kubectl", "Apply", A))) == ""
    assert own_fields(body(entry(MANAGER, "Update", A))) == ""
    assert own_fields(body(entry(MANAGER, "Apply", A, subresource="status"))) == ""
    ours = own_fields(body(OURS))
    assert ours == own_fields(
        body(entry("kubectl", "Apply", B), entry(MANAGER, "Apply", A, time="2027-01-01T00:00:00Z"))
    )
    assert ours != own_fields(body(entry(MANAGER, "Apply", B)))
    assert own_fields(body(OURS), "other") == ""


@given(st.data(), _FIELDS)
def test_a_hash_knows_no_order(data: st.DataObject, fields: Fields) -> None:
    names = data.draw(st.permutations(list(fields)))
    other = {name: fields[name] for name in names}
    assert own_fields(body(entry(MANAGER, "Apply", other))) == own_fields(body(entry(MANAGER, "Apply", fields)))
