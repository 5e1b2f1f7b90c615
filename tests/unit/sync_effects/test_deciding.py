"""What is asked of the server about one object: the whole table."""

from __future__ import annotations

import pytest

from image_updater.api.model import Drift, ObjectKey
from image_updater.cluster.model import Ref
from image_updater.sync.deciding import Step, decide
from image_updater.sync.model import Applied, Manifest
from image_updater.sync.watches import Seen, entry_of

OWNER = ObjectKey("apps", "web")
BODY = {
    "metadata": {
        "uid": "u1",
        "resourceVersion": "7",
        "labels": {"kustomize.image-updater.dev/name": "web", "kustomize.image-updater.dev/namespace": "apps"},
        "managedFields": [
            {
                "manager": "image-updater",
                "operation": "Apply",
                "time": "2026-01-01T00:00:00Z",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:data": {}},
            }
        ],
    }
}
EQUAL = Seen.of(BODY)
STOLEN = Seen(EQUAL.mark, 8, ObjectKey("apps", "other"), left_alone=False, kept=False)
MOVED = Seen(b"another", 8, OWNER, left_alone=False, kept=False)
FOREIGN = Seen(b"", 8, OWNER, left_alone=False, kept=False)


def manifest(digest: str) -> Manifest:
    return Manifest(ref=Ref("", "ConfigMap", "apps", "c"), api_version="v1", body={}, digest=digest)


def applied(digest: str) -> Applied:
    return Applied(digest=digest, uid="u1", fields=entry_of(BODY))


@pytest.mark.parametrize(
    ("known", "watched", "seen", "step"),
    [
        ("same", True, EQUAL, Step.LEAVE),
        ("same", True, MOVED, Step.MEND),
        ("same", True, STOLEN, Step.MEND),
        ("same", True, None, Step.MEND),
        ("same", False, None, Step.READ),
        ("other", True, EQUAL, Step.SEND),
        ("other", True, MOVED, Step.SEND),
        ("other", True, FOREIGN, Step.SEEK),
        ("other", True, None, Step.SEEK),
        ("other", False, None, Step.SEND),
        (None, True, MOVED, Step.SEND),
        (None, True, FOREIGN, Step.SEEK),
        (None, True, None, Step.SEEK),
        (None, False, None, Step.SEEK),
    ],
)
def test_what_is_known_decides_what_is_asked(known: str | None, watched: bool, seen: Seen | None, step: Step) -> None:
    found = decide(
        manifest("same"),
        OWNER,
        known=applied(known) if known else None,
        watched=watched,
        seen=seen,
        drift=Drift.CORRECT,
        force_all=False,
    )
    assert found is step


@pytest.mark.parametrize("seen", [EQUAL, MOVED, None], ids=["equal", "moved", "gone"])
@pytest.mark.parametrize(
    ("drift", "force_all", "step"),
    [(Drift.OFF, False, Step.LEAVE), (Drift.OFF, True, Step.LEAVE), (Drift.CORRECT, True, Step.READ)],
)
def test_the_manifest_that_was_applied_last_is_left_with_drift_off_and_read_when_all_is_asked(
    drift: Drift, force_all: bool, step: Step, seen: Seen | None
) -> None:
    found = decide(
        manifest("same"), OWNER, known=applied("same"), watched=True, seen=seen, drift=drift, force_all=force_all
    )
    assert found is step
