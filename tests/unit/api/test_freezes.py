"""Freezes and quarantines, of a namespace and of the cluster, from YAML."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from image_updater import api
from image_updater.api import model
from image_updater.api.kinds import KINDS
from image_updater.api.schema import crd

V = "image-updater.dev/v1alpha1"
DIGEST = f"sha256:{'a' * 64}"


def text(kind: str, spec: str, metadata: str = "name: a, namespace: apps") -> str:
    return f"apiVersion: {V}\nkind: {kind}\nmetadata: {{{metadata}}}\nspec: {spec}\n"


def load(kind: str, spec: str, metadata: str = "name: a, namespace: apps") -> model.Freeze | model.Quarantine:
    objects = api.load_text(text(kind, spec, metadata), "f.yaml")
    (found,) = (*objects.freezes, *objects.quarantines)
    return found


def errors_of(kind: str, spec: str, metadata: str = "name: a") -> list[tuple[str | None, str, str | None]]:
    with pytest.raises(api.SpecErrors) as caught:
        load(kind, spec, metadata)
    assert {error.where.file for error in caught.value.errors} == {"f.yaml"}
    return [(error.where.field, error.message, error.remedy) for error in caught.value.errors]


def test_a_freeze_with_every_field_is_read() -> None:
    assert load(
        "Freeze",
        "{reason: Black Friday, starts: 2026-11-26T00:00:00Z, expires: '2026-11-30T09:00:00+01:00', "
        "allowRollback: true, policies: {matchLabels: {tier: front}}, "
        "exceptions: {matchExpressions: [{key: hotfix, operator: Exists}]}}",
    ) == model.Freeze(
        meta=model.Meta(key=model.ObjectKey("apps", "a")),
        reason="Black Friday",
        starts=datetime(2026, 11, 26, tzinfo=UTC),
        expires=datetime(2026, 11, 30, 8, tzinfo=UTC),
        allow_rollback=True,
        policies=model.LabelSelector(match_labels={"tier": "front"}),
        exceptions=model.LabelSelector(match_expressions=(("hotfix", "Exists", ()),)),
    )


def test_a_freeze_of_the_cluster_has_no_namespace_and_names_some() -> None:
    found = load("ClusterFreeze", "{reason: x, namespaces: [apps, shop]}", "name: a")
    assert isinstance(found, model.Freeze)
    assert found.cluster
    assert str(found.key) == "a"
    assert found.namespaces == ("apps", "shop")
    assert found.policies.matches({})
    assert found.exceptions is None


def test_a_quarantine_with_every_field_is_read() -> None:
    assert load(
        "Quarantine",
        f"{{image: ghcr.io/acme/web, tag: '1.4', digest: '{DIGEST}', reason: it crashes, source: commit c0ffee, "
        "expires: 2026-03-01T00:00:00Z}",
        "name: a, namespace: apps, creationTimestamp: 2026-02-01T10:00:00Z",
    ) == model.Quarantine(
        meta=model.Meta(key=model.ObjectKey("apps", "a")),
        image="ghcr.io/acme/web",
        tag="1.4",
        digest=DIGEST,
        reason="it crashes",
        source="commit c0ffee",
        since=datetime(2026, 2, 1, 10, tzinfo=UTC),
        expires=datetime(2026, 3, 1, tzinfo=UTC),
    )


def test_a_quarantine_of_the_cluster_may_name_bytes_alone() -> None:
    found = load("ClusterQuarantine", f"{{image: web, digest: '{DIGEST}'}}", "name: a, creationTimestamp: null")
    assert isinstance(found, model.Quarantine)
    assert (found.cluster, found.tag, found.since) == (True, None, None)


@pytest.mark.parametrize(
    ("kind", "spec", "field", "message", "remedy"),
    [
        ("Freeze", "{}", "spec.reason", "is required", "why"),
        ("Freeze", "{reason: ''}", "spec.reason", "is empty", None),
        ("Freeze", '{reason: "a\\nb"}', "spec.reason", "line break", "one line"),
        ("Freeze", "{reason: x, expires: tomorrow}", "spec.expires", "is not an RFC 3339 time", "2024-05-01T12:00:00Z"),
        ("Freeze", "{reason: x, expires: 2026-01-01}", "spec.expires", "is not an RFC 3339 time", None),
        ("Freeze", "{reason: x, expires: [1]}", "spec.expires", "must be a time, not a list", None),
        (
            "Freeze",
            "{reason: x, starts: 2026-01-02T00:00:00Z, expires: 2026-01-02T00:00:00Z}",
            "spec.expires",
            "is not after starts",
            None,
        ),
        ("Freeze", "{reason: x, until: 2026-01-01T00:00:00Z}", "spec.until", "unknown field", "write expires"),
        ("Freeze", "{reason: x, namespaces: [a]}", "spec.namespaces", "unknown field", "write a ClusterFreeze"),
        ("ClusterFreeze", "{reason: x, namespaces: [A]}", "spec.namespaces[0]", "is not a namespace", None),
        ("Quarantine", "{image: a}", "spec.tag", "has neither tag nor digest", "or both"),
        ("Quarantine", "{tag: a}", "spec.image", "is required", None),
        ("Quarantine", "{image: 'a:1', tag: '1'}", "spec.image", "has a tag", None),
        ("Quarantine", "{image: a, tag: 1.10}", "spec.tag", "YAML reads the number 1.10", "quote it"),
        ("Quarantine", "{image: a, digest: 'sha256:1'}", "spec.digest", "is not a digest", None),
        ("Quarantine", "{image: a, tag: b, until: x}", "spec.until", "unknown field", "write expires"),
    ],
)
def test_a_mistake_is_told_with_its_field(kind: str, spec: str, field: str, message: str, remedy: str | None) -> None:
    ((place, said, help_),) = errors_of(kind, spec)
    assert (place, message in said) == (field, True), said
    assert help_
    assert remedy is None or remedy in help_


@pytest.mark.parametrize("kind", ["ClusterFreeze", "ClusterQuarantine"])
def test_a_namespace_of_a_kind_of_the_cluster_is_a_mistake(kind: str) -> None:
    spec = "{reason: x}" if kind == "ClusterFreeze" else "{image: a, tag: b}"
    assert errors_of(kind, spec, "name: a, namespace: apps") == [
        (
            "metadata.namespace",
            "has no namespace: it is for the whole cluster",
            f"remove it, or write kind: {kind.removeprefix('Cluster')}",
        )
    ]


def test_a_freeze_of_a_namespace_and_one_of_the_cluster_may_share_a_name() -> None:
    both = text("Freeze", "{reason: x}") + "---\n" + text("ClusterFreeze", "{reason: x}", "name: a")
    assert [each.cluster for each in api.load_text(both).freezes] == [False, True]
    with pytest.raises(api.SpecErrors, match=r"ClusterFreeze a: metadata\.name: is defined twice"):
        api.load_text(both + "---\n" + text("ClusterFreeze", "{reason: z}", "name: a"))


def test_objects_of_several_files_come_together() -> None:
    one = api.load_text(text("Freeze", "{reason: x}"))
    two = api.load_text(text("ClusterQuarantine", "{image: a, tag: b}", "name: a"))
    merged = api.merge(one, two)
    assert (len(merged.freezes), len(merged.quarantines)) == (1, 1)


def test_kinds_of_the_cluster_are_defined_as_such_and_have_no_status() -> None:
    for name, kind in KINDS.items():
        spec = crd(kind)["spec"]
        (version,) = spec["versions"]
        assert spec["scope"] == ("Cluster" if name.startswith("Cluster") else "Namespaced")
        stateless = name.endswith(("Freeze", "Quarantine"))
        assert ("status" in version["schema"]["openAPIV3Schema"]["properties"]) is not stateless
        assert ("subresources" in version) is not stateless
        assert "Ready" in {column["name"] for column in version["additionalPrinterColumns"]} or stateless
