"""Quarantine and ClusterQuarantine: an image that nobody may choose."""

from __future__ import annotations

from typing import Any, Final

from image_updater.api.decode import At
from image_updater.api.fields import Field, Rule, Struct, Text, Values
from image_updater.api.kinds.kind import Kind, one_line
from image_updater.api.kinds.policy import check_image
from image_updater.api.model import Meta, Quarantine
from image_updater.api.scalars import Instant
from image_updater.api.tags import check_digest, check_tag


def _check(values: Values, at: At) -> None:
    if values["tag"] is None and values["digest"] is None:
        at.fail(
            "has neither tag nor digest: it would take every image of that name",
            field="tag",
            remedy="name the bad tag, the bad digest, or both",
        )


SPEC: Final = Struct(
    check=_check,
    rules=(Rule(cel="has(self.tag) || has(self.digest)", message="write tag, digest or both"),),
    hints={"until": "write expires", "since": "that is when the object was created", "images": "one object an image"},
    fields=(
        Field(
            name="image",
            type=Text(name="image name", check=check_image, remedy="such as ghcr.io/acme/web"),
            required=True,
            doc="name of the image, without tag and digest",
        ),
        Field(
            name="tag",
            type=Text(name="tag", check=check_tag),
            doc="the bad tag; with a digest beside it, other bytes under this tag are not meant",
        ),
        Field(
            name="digest",
            type=Text(name="digest", check=check_digest),
            doc="the bad bytes: under every tag, and where Git names them",
        ),
        Field(name="reason", type=Text(name="reason", check=one_line, empty=True), default="", doc="why"),
        Field(
            name="source",
            type=Text(name="source", check=one_line, empty=True),
            default="",
            shown="a person",
            doc="where it comes from: `commit <id>` when the controller made it from the record of a commit",
        ),
        Field(name="expires", type=Instant(), shown="when the object is deleted", doc="until when"),
    ),
)


def _build(meta: Meta, values: Values) -> Any:
    return Quarantine(
        meta=meta,
        image=values["image"],
        tag=values["tag"],
        digest=values["digest"],
        reason=values["reason"],
        source=values["source"],
        since=meta.created,
        expires=values["expires"],
    )


_COLUMNS: Final = (
    ("Image", ".spec.image"),
    ("Tag", ".spec.tag"),
    ("Reason", ".spec.reason"),
    ("Source", ".spec.source"),
    ("Expires", ".spec.expires"),
)

QUARANTINE: Final = Kind(
    name="Quarantine",
    doc="An image that no policy of its namespace may choose.",
    spec=SPEC,
    build=_build,
    plural="quarantines",
    short="iuquar",
    columns=_COLUMNS,
)

CLUSTER_QUARANTINE: Final = Kind(
    name="ClusterQuarantine",
    doc="An image that no policy of any namespace may choose.",
    spec=SPEC,
    build=_build,
    plural="clusterquarantines",
    short="iucquar",
    columns=_COLUMNS,
    cluster=True,
)
