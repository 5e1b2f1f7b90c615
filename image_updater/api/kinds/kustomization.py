"""Kustomization: a path of a repository, what is laid over it, and how it is applied to a cluster.

Without a cluster only the path and what is laid over it count: they name a root. The rest is read and checked all the
same.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from image_updater.api.fields import (
    Choice,
    Duration,
    Field,
    Flag,
    ListOf,
    MapOf,
    Struct,
    Text,
    Values,
    check_label_key,
    check_label_value,
    check_name,
    check_namespace,
)
from image_updater.api.kinds.automation import SOURCE_REF, source_key
from image_updater.api.kinds.kind import PATH_HELP, Kind, check_path, clean_path
from image_updater.api.model import (
    DeletionPolicy,
    Drift,
    HealthCheck,
    Kustomization,
    Meta,
    ObjectKey,
    OnFailure,
    SecretKey,
)
from image_updater.api.tags import check_tag

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

_COMMON_METADATA: Final = Struct(
    fields=(
        Field(
            name="labels",
            type=MapOf(
                value=Text(name="label value", check=check_label_value, empty=True), key=Text(check=check_label_key)
            ),
            default={},
            doc="labels of every object, never of selectors or pod templates",
        ),
        Field(
            name="annotations",
            type=MapOf(value=Text(empty=True), key=Text(check=check_label_key)),
            default={},
            doc="annotations of every object",
        ),
    )
)

_DEPENDENCY: Final = Struct(
    hints={"readyExpr": "ready is what its Ready condition says"},
    fields=(
        Field(name="name", type=_NAME, required=True, doc="name of the other Kustomization"),
        Field(name="namespace", type=_NAMESPACE, shown="that of the object", doc="its namespace"),
    ),
)

_HEALTH_CHECK: Final = Struct(
    fields=(
        Field(name="apiVersion", type=Text(), shown="any version the server prefers", doc="API version"),
        Field(name="kind", type=Text(), required=True, doc="kind"),
        Field(name="name", type=_NAME, required=True, doc="name"),
        Field(name="namespace", type=_NAMESPACE, shown="that of the object", doc="namespace"),
    ),
    build=lambda v: HealthCheck(kind=v["kind"], name=v["name"], api_version=v["apiVersion"], namespace=v["namespace"]),
)

_KUBE_CONFIG: Final = Struct(
    hints={"configMapRef": "put a kubeconfig into a Secret: secretRef"},
    fields=(
        Field(
            name="secretRef",
            required=True,
            # No `{}` here: an empty reference must never come to mean the controller's own cluster.
            type=Struct(
                fields=(
                    Field(name="name", type=_NAME, required=True, doc="name of the Secret"),
                    Field(name="key", type=Text(), shown="`value`, then `value.yaml`", doc="key in the Secret"),
                ),
                build=lambda v: SecretKey(name=v["name"], key=v["key"]),
            ),
            doc="Secret with a kubeconfig; what it needs must stand in it: no `exec`, `auth-provider`, file paths",
        ),
    ),
    build=lambda v: v["secretRef"],
)

_ROLLBACK: Final = Struct(
    fields=(
        Field(
            name="onFailure",
            type=Choice(words=OnFailure),
            default=OnFailure.HOLD,
            doc="what a failed rollout of a tag of ours leads to, when the failure is the tag's: `hold`, it is not "
            "written again, and nothing is until a newer tag comes; `rollback`, a commit takes the failed workload "
            "back to its last proven image, too; `none`, it is only told",
        ),
    ),
    build=lambda v: v["onFailure"],
)

SPEC: Final = Struct(
    hints={
        "postBuild": "variables are not substituted: use replacements in the kustomization",
        "decryption": "encrypted files are not decrypted here",
        "healthCheckExprs": "use healthChecks",
        "ignoreMissingComponents": "every component must be there",
        "buildMetadata": "set it in the kustomization",
        "validation": "the server validates what is applied",
    },
    fields=(
        Field(
            name="path",
            type=Text(name="path", check=check_path, clean=clean_path, remedy=PATH_HELP),
            default=".",
            doc="folder that is built: a root",
        ),
        Field(
            name="sourceRef",
            type=SOURCE_REF,
            doc="the GitRepository that has the path; needed in a cluster",
        ),
        Field(
            name="images",
            type=ListOf(item=IMAGE, maximum=1_000),
            default=(),
            doc="Kustomize `images:` entries laid over the path",
        ),
        Field(
            name="patches",
            type=ListOf(item=PATCH, maximum=1_000),
            default=(),
            doc="inline patches laid over the path",
        ),
        Field(
            name="components",
            type=ListOf(item=Text(name="path")),
            default=(),
            doc="components laid over the path, relative to it",
        ),
        Field(name="targetNamespace", type=_NAMESPACE, doc="namespace of all objects"),
        Field(name="namePrefix", type=Text(), doc="prefix of all names"),
        Field(name="nameSuffix", type=Text(), doc="suffix of all names"),
        Field(name="commonMetadata", type=_COMMON_METADATA, doc="labels and annotations of every object"),
        Field(
            name="interval",
            type=Duration(minimum=timedelta(seconds=1)),
            default=timedelta(minutes=10),
            doc="how often what is not watched (Secrets above all) is compared, give or take a tenth; `requestedAt` "
            "compares everything",
        ),
        Field(
            name="retryInterval",
            type=Duration(minimum=timedelta(seconds=1)),
            shown="interval",
            doc="how soon a failure is tried again",
        ),
        Field(
            name="timeout",
            type=Duration(minimum=timedelta(seconds=1)),
            shown="interval",
            doc="the longest that the objects may take to become healthy",
        ),
        Field(name="prune", type=Flag(), default=False, doc="delete what left Git"),
        Field(
            name="wait",
            type=Flag(),
            default=False,
            doc="ready only when everything that was applied is healthy",
        ),
        Field(
            name="force",
            type=Flag(),
            default=False,
            doc="delete and create anew what has a changed field that cannot be changed",
        ),
        Field(name="suspend", type=Flag(), default=False, doc="nothing is applied or pruned"),
        Field(
            name="serviceAccountName",
            type=_NAME,
            shown="`--default-service-account`; with kubeConfig its own user",
            doc="service account of this namespace that applies, never the controller itself; with kubeConfig it is "
            "one of that cluster",
        ),
        Field(
            name="dependsOn",
            type=ListOf(item=_DEPENDENCY, maximum=1_000),
            default=(),
            doc="Kustomizations that must be ready first",
        ),
        Field(
            name="healthChecks",
            type=ListOf(item=_HEALTH_CHECK, maximum=1_000),
            default=(),
            doc="objects that must be healthy too, beside those that are applied",
        ),
        Field(name="kubeConfig", type=_KUBE_CONFIG, shown="this cluster", doc="the cluster that is applied to"),
        Field(
            name="drift",
            type=Choice(words=Drift),
            default=Drift.CORRECT,
            doc="changes made in the cluster to fields that Git sets: `correct` undoes them, `warn` shows them, "
            "`off` does not look for them",
        ),
        Field(
            name="deletionPolicy",
            type=Choice(
                words=DeletionPolicy,
                hints={"WaitForTermination": "write Delete: the objects are deleted, their end is not waited for"},
            ),
            default=DeletionPolicy.MIRROR_PRUNE,
            doc="what happens to the applied objects when this object is deleted: `Delete`, `Orphan` (they stay), or "
            "what `prune` says",
        ),
        Field(
            name="rollback",
            type=_ROLLBACK,
            default=OnFailure.HOLD,
            shown="see below",
            doc="what follows from a failed rollout",
        ),
    ),
)


def _build(meta: Meta, values: Values) -> Any:
    common = values["commonMetadata"] or {"labels": {}, "annotations": {}}
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
        common_labels=common["labels"],
        common_annotations=common["annotations"],
        interval=values["interval"],
        retry_interval=values["retryInterval"],
        timeout=values["timeout"],
        prune=values["prune"],
        wait=values["wait"],
        force=values["force"],
        suspend=values["suspend"],
        service_account_name=values["serviceAccountName"],
        depends_on=tuple(
            ObjectKey(namespace=each["namespace"] or meta.key.namespace, name=each["name"])
            for each in values["dependsOn"]
        ),
        health_checks=values["healthChecks"],
        kube_config=values["kubeConfig"],
        drift=values["drift"],
        deletion_policy=values["deletionPolicy"],
        on_failure=values["rollback"],
    )


KUSTOMIZATION: Final = Kind(
    name="Kustomization",
    doc="A path of a repository as it is applied to a cluster. Without a cluster it names a root and what is laid "
    "over it.",
    spec=SPEC,
    build=_build,
    plural="kustomizations",
    short="iukust",
    columns=(("Repository", ".spec.sourceRef.name"), ("Revision", ".status.lastAppliedRevision")),
)
