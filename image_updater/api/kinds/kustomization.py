"""Kustomization: a path that is applied to a cluster. Until the sync is built it names a root and what is laid over it.

The other fields are read and checked all the same, so that a file that is valid now stays valid.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from image_updater.api.decode import At
from image_updater.api.fields import (
    Choice,
    Duration,
    Field,
    Flag,
    ListOf,
    Struct,
    Text,
    Values,
    check_name,
    check_namespace,
    reference,
)
from image_updater.api.kinds.automation import SOURCE_REF, source_key
from image_updater.api.kinds.kind import PATH_HELP, Kind, check_path, clean_path
from image_updater.api.kinds.policy import check_tag
from image_updater.api.model import Kustomization, Meta


class Drift(StrEnum):
    CORRECT = "correct"
    WARN = "warn"
    OFF = "off"


class OnFailure(StrEnum):
    HOLD = "hold"
    ROLLBACK = "rollback"
    NONE = "none"


_NAMESPACE: Final = Text(name="namespace", check=check_namespace)
_NAME: Final = Text(name="object name", check=check_name)


def _given(values: Values) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


IMAGE: Final = Struct(
    fields=(
        Field(name="name", type=Text(), required=True, doc="name of the image as rendered"),
        Field(name="newName", type=Text(), doc="name to write instead"),
        Field(name="newTag", type=Text(name="tag", check=check_tag), doc="tag to write"),
        Field(name="digest", type=Text(), doc="digest to write instead of a tag"),
    ),
    build=_given,
)

_TARGET: Final = Struct(
    fields=tuple(
        Field(name=name, type=Text(), doc=doc)
        for name, doc in (
            ("group", "API group"),
            ("version", "API version"),
            ("kind", "kind (pattern)"),
            ("name", "name (pattern)"),
            ("namespace", "namespace (pattern)"),
            ("labelSelector", "selector on labels"),
            ("annotationSelector", "selector on annotations"),
        )
    ),
    build=_given,
)

PATCH: Final = Struct(
    hints={"path": "patches are inline here: write patch: |-"},
    fields=(
        Field(name="patch", type=Text(name="YAML"), required=True, doc="strategic merge or JSON 6902 patch"),
        Field(name="target", type=_TARGET, doc="which objects are patched"),
    ),
    build=_given,
)

_DEPENDENCY: Final = Struct(
    fields=(
        Field(name="name", type=_NAME, required=True, doc="name of the other Kustomization"),
        Field(name="namespace", type=_NAMESPACE, shown="that of the object", doc="its namespace"),
    )
)

_HEALTH_CHECK: Final = Struct(
    fields=(
        Field(name="apiVersion", type=Text(), doc="API version"),
        Field(name="kind", type=Text(), required=True, doc="kind"),
        Field(name="name", type=_NAME, required=True, doc="name"),
        Field(name="namespace", type=_NAMESPACE, doc="namespace"),
    )
)

_KUBE_CONFIG: Final = Struct(
    optional_empty=True,
    fields=(
        Field(
            name="secretRef",
            required=True,
            type=reference(
                "kubeconfig", fields=(Field(name="key", type=Text(), shown="`value`", doc="key of the Secret"),)
            ),
            doc="Secret with a kubeconfig",
        ),
    ),
)

_ROLLBACK: Final = Struct(
    fields=(
        Field(
            name="onFailure",
            type=Choice(words=OnFailure),
            default=OnFailure.HOLD,
            doc="what a failed rollout of our tag leads to",
        ),
    )
)


def _check(values: Values, at: At) -> None:
    for name in ("patches", "images"):
        if len(values[name]) > 1_000:
            at.fail(f"has {len(values[name]):,} items, more than 1,000", field=name)


_LATER: Final = "used by the sync, which is not built yet: "

SPEC: Final = Struct(
    check=_check,
    hints={
        "postBuild": "variables are not substituted",
        "decryption": "encrypted files are not decrypted",
        "commonMetadata": "use labels: in the kustomization",
        "healthCheckExprs": "use healthChecks",
    },
    fields=(
        Field(
            name="path",
            type=Text(name="path", check=check_path, clean=clean_path, remedy=PATH_HELP),
            default=".",
            doc="folder that is built: a root",
        ),
        Field(name="sourceRef", type=SOURCE_REF, doc="the GitRepository that has the path"),
        Field(name="images", type=ListOf(item=IMAGE), default=(), doc="Kustomize `images:` entries laid over the path"),
        Field(name="patches", type=ListOf(item=PATCH), default=(), doc="inline patches laid over the path"),
        Field(
            name="components",
            type=ListOf(item=Text(name="path")),
            default=(),
            doc="components laid over the path, relative to it",
        ),
        Field(name="targetNamespace", type=_NAMESPACE, doc="namespace of all objects"),
        Field(name="namePrefix", type=Text(), doc="prefix of all names"),
        Field(name="nameSuffix", type=Text(), doc="suffix of all names"),
        Field(
            name="interval",
            type=Duration(minimum=timedelta(seconds=1)),
            default=timedelta(minutes=10),
            doc=_LATER + "how often it is applied",
        ),
        Field(
            name="retryInterval",
            type=Duration(minimum=timedelta(seconds=1)),
            shown="interval",
            doc=_LATER + "how soon a failure is tried again",
        ),
        Field(
            name="timeout",
            type=Duration(minimum=timedelta(seconds=1)),
            shown="interval",
            doc=_LATER + "the longest one apply may take",
        ),
        Field(name="prune", type=Flag(), default=False, doc=_LATER + "delete what left Git"),
        Field(name="wait", type=Flag(), default=False, doc=_LATER + "wait until everything is healthy"),
        Field(name="force", type=Flag(), default=False, doc=_LATER + "recreate objects whose fields cannot change"),
        Field(name="suspend", type=Flag(), default=False, doc=_LATER + "nothing is applied"),
        Field(name="serviceAccountName", type=_NAME, doc=_LATER + "who applies"),
        Field(name="dependsOn", type=ListOf(item=_DEPENDENCY), default=(), doc=_LATER + "what must be ready first"),
        Field(name="healthChecks", type=ListOf(item=_HEALTH_CHECK), default=(), doc=_LATER + "what must be healthy"),
        Field(name="kubeConfig", type=_KUBE_CONFIG, doc=_LATER + "another cluster"),
        Field(
            name="drift",
            type=Choice(words=Drift),
            default=Drift.CORRECT,
            doc=_LATER + "what happens to changes made in the cluster",
        ),
        Field(name="rollback", type=_ROLLBACK, doc=_LATER + "what a failed rollout leads to"),
    ),
)


def _build(meta: Meta, values: Values) -> Any:
    return Kustomization(
        meta=meta,
        source_ref=source_key(meta, values["sourceRef"]),
        path=values["path"],
        images=values["images"],
        patches=values["patches"],
        components=values["components"],
        target_namespace=values["targetNamespace"],
        name_prefix=values["namePrefix"],
        name_suffix=values["nameSuffix"],
    )


KUSTOMIZATION: Final = Kind(
    name="Kustomization",
    doc="A path of a repository as it is applied to a cluster: it names a root and what is laid over it.",
    spec=SPEC,
    build=_build,
)
