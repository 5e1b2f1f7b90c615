"""Inventories: Flux's ids, both ways, and the ConfigMaps of large ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_updater.api.model import ObjectKey
from image_updater.cluster.model import Ref
from image_updater.errors import DocumentError
from image_updater.sync import inventory
from image_updater.sync.model import Entry
from tests.unit.sync.things import manifest

KEY = ObjectKey("apps", "web")

RBAC = "rbac.authorization.k8s.io"
EXTENSIONS = "apiextensions.k8s.io"

IDS = [
    (Ref("apps", "Deployment", "apps", "web"), "apps_web_apps_Deployment"),
    (Ref("", "Namespace", "", "prod"), "_prod__Namespace"),
    (Ref("", "Service", "apps", "web.v1"), "apps_web.v1__Service"),
    (Ref(RBAC, "ClusterRole", "", "system:node"), f"_system__node_{RBAC}_ClusterRole"),
    (Ref(EXTENSIONS, "CustomResourceDefinition", "", "a.b.c"), f"_a.b.c_{EXTENSIONS}_CustomResourceDefinition"),
    (Ref(RBAC, "Role", "a", "my_role"), f"a_my%5Frole_{RBAC}_Role"),
]


@pytest.mark.parametrize(("ref", "text"), IDS, ids=[text for _, text in IDS])
def test_an_id_is_fluxs_and_reads_back(ref: Ref, text: str) -> None:
    assert inventory.object_id(ref) == text
    assert inventory.parse_id(text) == ref


def test_a_name_with_an_underscore_that_flux_wrote_is_read() -> None:
    assert inventory.parse_id("a_my_role_rbac.authorization.k8s.io_Role").name == "my_role"


@pytest.mark.parametrize("text", ["", "a", "a_b", "a_b_c", "____", "a__b_C", "_a__"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not namespace_name_group_kind"):
        inventory.parse_id(text)


_LABEL = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
_REFS = st.builds(
    Ref,
    group=st.just("") | st.lists(_LABEL, min_size=1, max_size=3).map(".".join),
    kind=st.from_regex(r"[A-Z][A-Za-z0-9]{0,10}", fullmatch=True),
    namespace=st.just("") | _LABEL,
    name=st.text(st.characters(codec="utf-8", exclude_characters="/%", exclude_categories=["Cc", "Cs"]), min_size=1)
    | st.text("a_:", min_size=1, max_size=8),
)
_ENTRIES = st.lists(st.builds(Entry, ref=_REFS, version=st.sampled_from(["v1", "v1beta1", "v2"])), max_size=20)


@given(_REFS)
def test_every_id_reads_back(ref: Ref) -> None:
    assert inventory.parse_id(inventory.object_id(ref)) == ref


@given(_ENTRIES, _ENTRIES)
def test_union_and_difference_are_those_of_sets(old: list[Entry], new: list[Entry]) -> None:
    both = inventory.union(old, new)
    assert {entry.ref for entry in both} == {entry.ref for entry in [*old, *new]}
    assert len({entry.ref for entry in both}) == len(both)
    latest = {entry.ref: entry.version for entry in [*old, *new]}
    assert all(entry.version == latest[entry.ref] for entry in both)
    gone = inventory.difference(old, new)
    assert {entry.ref for entry in gone} == {entry.ref for entry in old} - {entry.ref for entry in new}
    assert inventory.union(both, new) == both
    assert inventory.difference(new, both) == ()


@given(st.data(), _ENTRIES, st.integers(2, 500))
def test_what_is_stored_is_loaded_whatever_the_order(data: Any, entries: list[Entry], limit: int) -> None:
    entries = list(inventory.union((), entries))
    stored = inventory.store(data.draw(st.permutations(entries)), KEY, limit=limit)
    assert stored == inventory.store(entries, KEY, limit=limit)
    status = json.loads(json.dumps(stored.status))
    assert inventory.pieces_of(status) == tuple(piece.name for piece in stored.pieces)
    texts = {piece.name: piece.text for piece in stored.pieces}
    assert inventory.load(status, texts) == tuple(entries)
    assert len({piece.name for piece in stored.pieces}) == len(stored.pieces)


def many(count: int) -> tuple[Entry, ...]:
    refs = (
        Ref("networking.k8s.io", "NetworkPolicy", f"tenant-{n % 100:03}", f"allow-ingress-{n:05}") for n in range(count)
    )
    return inventory.union((), (Entry(ref=ref, version="v1") for ref in refs))


def test_a_small_inventory_stands_in_status_as_fluxs_does() -> None:
    entries = inventory.entries_of([manifest("Deployment", "web", api_version="apps/v1", namespace="apps")])
    assert inventory.store(entries, KEY) == inventory.Stored(
        status={"entries": [{"id": "apps_web_apps_Deployment", "v": "v1"}]}
    )
    assert inventory.store((), KEY).status == {"entries": []}
    assert inventory.load(None) == ()


def test_ten_thousand_objects_fit() -> None:
    entries = many(10_000)
    stored = inventory.store(entries, KEY)
    assert 1 < len(stored.pieces) < 5
    assert all(len(piece.text.encode()) <= inventory.MAX_BYTES for piece in stored.pieces)
    assert len(json.dumps(stored.status)) < 2_000
    assert stored.status["count"] == 10_000
    assert inventory.load(stored.status, {piece.name: piece.text for piece in stored.pieces}) == entries


def test_names_of_pieces_say_what_they_hold_and_whose_they_are() -> None:
    entries = many(60)
    names = [
        {piece.name for piece in inventory.store(held, key, limit=1_000).pieces}
        for held, key in ((entries, KEY), (entries[1:], KEY), (entries, ObjectKey("apps", "other")))
    ]
    assert not names[0] & names[2]
    assert names[0] != names[1]
    assert all(len(name) <= 253 and name.startswith("image-updater-inventory-") for name in names[0])


def test_a_piece_that_is_missing_or_changed_is_an_error() -> None:
    stored = inventory.store(many(60), KEY, limit=1_000)
    texts = {piece.name: piece.text for piece in stored.pieces}
    first = stored.pieces[0].name
    with pytest.raises(DocumentError, match=f"{first} is not there"):
        inventory.load(stored.status, {**texts, first: None})
    with pytest.raises(DocumentError, match=f"{first} does not hold"):
        inventory.load(stored.status, {**texts, first: "[]"})


@pytest.mark.parametrize("item", [{}, {"id": "a_b", "v": "v1"}, {"id": "a_b_c_D"}, "text", None])
def test_an_entry_that_cannot_be_read_is_an_error(item: Any) -> None:
    with pytest.raises(DocumentError, match="cannot be read"):
        inventory.load({"entries": [item]})
