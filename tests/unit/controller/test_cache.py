"""What wakes the controller, and what does not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from image_updater.api.model import ImagePolicy, ObjectKey
from image_updater.controller.cache import Cache, read
from image_updater.policy.gates import freezes

WEB = ObjectKey("apps", "web")


def body(name: str = "web", *, uid: str = "u1", generation: int = 1, **more: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "apiVersion": "image-updater.dev/v1alpha1",
        "kind": "ImagePolicy",
        "metadata": {"namespace": "apps", "name": name, "uid": uid, "generation": generation, "resourceVersion": "7"},
        "spec": {"image": "ghcr.io/acme/web", "policy": {"semver": {"range": "^1.2"}}},
    }
    document["metadata"] |= more.pop("metadata", {})
    return document | more


def test_an_object_becomes_its_frozen_value() -> None:
    entry = read("ImagePolicy", body(metadata={"annotations": {"image-updater.dev/requestedAt": "now", "x/y": "z"}}))
    assert entry.key == WEB
    assert isinstance(entry.value, ImagePolicy)
    assert entry.error is None
    assert entry.requested == "now"
    assert dict(entry.annotations) == {"image-updater.dev/requestedAt": "now"}


def test_what_is_wrong_with_an_object_names_its_field_and_no_line() -> None:
    entry = read("ImagePolicy", body(spec={"image": "ghcr.io/acme/web", "polcy": {}}))
    assert entry.value is None
    assert "ImagePolicy apps/web: spec.polcy: unknown field (did you mean 'policy'?)" in str(entry.error)


@pytest.mark.parametrize("text", ["a\u2028b", "\x7f", "\ufeff", "\x85", "😀", 'quo"te\\', "\u0000", "tab\t"])
def test_any_text_of_an_object_can_be_read(text: str) -> None:
    entry = read("ImagePolicy", body(metadata={"annotations": {"image-updater.dev/note": text}}))
    assert entry.error is None
    assert entry.annotations["image-updater.dev/note"] == text
    assert entry.value.meta.annotations["image-updater.dev/note"] == text


def test_an_object_of_another_version_is_refused_with_words() -> None:
    entry = read("ImagePolicy", body(apiVersion="image-updater.dev/v9"))
    assert entry.value is None
    assert "image-updater.dev/v1alpha1" in str(entry.error)


async def test_the_echo_of_a_status_wakes_nobody_and_is_kept() -> None:
    cache = Cache()
    seen = cache.subscribe(["ImagePolicy"])
    assert cache.observe("ImagePolicy", body()) is not None
    assert await seen.next() == {("ImagePolicy", WEB)}
    first = cache.get("ImagePolicy", WEB)
    assert first is not None
    assert cache.observe("ImagePolicy", body(status={"tagCount": 3}, metadata={"resourceVersion": "8"})) is None
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(seen.next(), 0.05)
    entry = cache.get("ImagePolicy", WEB)
    assert entry is not None
    assert entry.status == {"tagCount": 3}
    assert entry.resource_version == "8"
    assert entry.value is first.value, "it was read again"


@pytest.mark.parametrize(
    "change",
    [
        {"generation": 2},
        {"uid": "u2"},
        {"metadata": {"labels": {"team": "a"}}},
        {"metadata": {"annotations": {"image-updater.dev/requestedAt": "1"}}},
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
        {"metadata": {"finalizers": ["x"]}},
    ],
)
async def test_what_matters_wakes(change: dict[str, Any]) -> None:
    cache = Cache()
    cache.observe("ImagePolicy", body())
    seen = cache.subscribe(["ImagePolicy"])
    await seen.next()
    assert cache.observe("ImagePolicy", body(**change)) is not None
    assert await seen.next() == {("ImagePolicy", WEB)}


async def test_many_changes_come_as_one() -> None:
    cache = Cache()
    seen = cache.subscribe(["ImagePolicy"])
    for number in range(100):
        cache.observe("ImagePolicy", body(f"p{number}", uid=f"u{number}"))
    assert len(await seen.next()) == 100


def test_a_deletion_of_an_older_object_of_that_name_is_not_ours() -> None:
    cache = Cache()
    cache.observe("ImagePolicy", body(uid="new"))
    cache.forget("ImagePolicy", WEB, "old")
    assert cache.get("ImagePolicy", WEB) is not None
    cache.forget("ImagePolicy", WEB, "new")
    assert cache.get("ImagePolicy", WEB) is None


def test_what_went_unwatched_is_forgotten_and_what_came_since_is_kept() -> None:
    cache = Cache()
    cache.observe("ImagePolicy", body("old", uid="1"))
    cache.observe("ImagePolicy", body("stays", uid="2"))
    known = cache.uids("ImagePolicy", None)
    cache.observe("ImagePolicy", body("new", uid="3"))
    cache.keep("ImagePolicy", known, {"2"})
    assert {key.name for key in cache.entries("ImagePolicy")} == {"stays", "new"}


def test_objects_are_those_that_are_valid_and_stay() -> None:
    cache = Cache()
    cache.observe("ImagePolicy", body("good", uid="1"))
    cache.observe("ImagePolicy", body("bad", uid="2", spec={}))
    cache.observe("ImagePolicy", body("going", uid="3", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}))
    assert [policy.key.name for policy in cache.objects().policies] == ["good"]


async def test_what_somebody_asks_for_waits_for_nothing_else() -> None:
    cache = Cache()
    seen = cache.subscribe(["ImagePolicy"])
    cache.observe("ImagePolicy", body())
    assert await seen.next(debounce=0.0) == {("ImagePolicy", WEB)}
    for at in ("1", "2"):
        cache.observe("ImagePolicy", body("other", metadata={"labels": {"at": at}}))
        cache.observe("ImagePolicy", body(metadata={"annotations": {"image-updater.dev/requestedAt": at}}))
        asked = {("ImagePolicy", WEB), ("ImagePolicy", ObjectKey("apps", "other"))}
        assert await asyncio.wait_for(seen.next(debounce=3600), 10) == asked
    cache.observe("ImagePolicy", body(metadata={"annotations": {"image-updater.dev/x": "1"}}))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(seen.next(debounce=3600), 0.05)


# ------------------------------------------------------------------------------------------- freezes, quarantines


def stop(kind: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a", "uid": "u", "generation": 1, **metadata}, "spec": spec}


def test_kinds_of_the_cluster_have_no_namespace_and_come_before_those_of_a_namespace() -> None:
    cache = Cache()
    cache.observe("Freeze", stop("Freeze", {"reason": "x"}, namespace="apps"))
    entry = cache.observe("ClusterFreeze", stop("ClusterFreeze", {"reason": "y"}))
    assert entry is not None
    assert entry.key == ObjectKey("", "a")
    assert [each.reason for each in cache.objects().freezes] == ["y", "x"]
    cache.forget("ClusterFreeze", ObjectKey("", "a"), "u")
    assert [each.reason for each in cache.objects().freezes] == ["x"]


def test_a_quarantine_counts_from_when_it_was_made() -> None:
    cache = Cache()
    made = {"namespace": "apps", "creationTimestamp": "2026-03-01T12:00:00Z"}
    cache.observe("Quarantine", stop("Quarantine", {"image": "web", "tag": "1"}, **made))
    (found,) = cache.objects().quarantines
    assert found.since == datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(("kind", "namespace"), [("Freeze", "apps"), ("ClusterFreeze", "")])
def test_a_freeze_that_cannot_be_read_stops_everything_it_could_have_meant(kind: str, namespace: str) -> None:
    """Somebody wanted a halt: a mistyped field must not let everything go on."""
    cache = Cache()
    cache.observe(
        kind,
        stop(
            kind,
            {"reason": "x", "expires": "tomorrow", "policies": {"matchLabels": {"a": "b"}}},
            **({"namespace": namespace} if namespace else {}),
        ),
    )
    (found,) = cache.objects().freezes
    assert (found.key, found.expires, found.exceptions) == (ObjectKey(namespace, "a"), None, None)
    assert found.policies.matches({})
    assert "cannot be read" in found.reason
    assert "spec.expires" in found.reason
    assert not found.allow_rollback


@pytest.mark.parametrize(("kind", "namespace"), [("Quarantine", "apps"), ("ClusterQuarantine", "")])
def test_a_quarantine_that_cannot_be_read_stops_everything_it_could_have_meant(kind: str, namespace: str) -> None:
    """It bars an image that nobody knows; a rollback goes to what is proven, and passes."""
    cache = Cache()
    where = {"namespace": namespace} if namespace else {}
    cache.observe(kind, stop(kind, {"image": "web:1.5.0", "tag": "1.5.0"}, **where))
    objects = cache.objects()
    (found,) = objects.freezes
    assert objects.quarantines == ()
    assert (found.key, found.allow_rollback) == (ObjectKey(namespace, "a"), True)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    name = f"{kind} {ObjectKey(namespace, 'a')}"
    assert freezes.reason(found, now).startswith(f"{name} stops it until it is deleted: it cannot be read: ")
    assert "has a tag" in found.reason
    cache.observe(kind, stop(kind, {"image": "web", "tag": "1.5.0"}, generation=2, **where))
    assert (len(cache.objects().freezes), len(cache.objects().quarantines)) == (0, 1)


def test_what_is_being_deleted_stops_nothing_any_more() -> None:
    cache = Cache()
    gone = {"namespace": "apps", "deletionTimestamp": "2026-03-01T12:00:00Z"}
    cache.observe("Freeze", stop("Freeze", {"reason": ""}, **gone))
    cache.observe("Quarantine", stop("Quarantine", {"image": "web", "tag": "1"}, **gone))
    assert (cache.objects().freezes, cache.objects().quarantines) == ((), ())
