"""Status of our kinds, declared once: the definitions, the reference pages and the writers agree through it.

`status_fields` is what a writer hands its values through: it makes them JSON and refuses what is not declared, so that
no field is ever written that the server would drop without a word. Lists are cut to their declared length; what is left
out is counted elsewhere (`siteCounts`, `tagCount`). No field moves by itself: a status is written when a decision, a
reason or a condition changes (scan times are metrics).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from image_updater.api import policystatus
from image_updater.api.shapes import At, Count, Counts, Many, Moment, Record, Words

CONDITION: Final = Record(
    (
        At("type", Words(("Ready", "Reconciling", "Stalled")), "what is said", needed=True),
        At("status", Words(("True", "False", "Unknown")), "whether it holds", needed=True),
        At("reason", Words(), "one word why (reference/reasons.md has them all)", needed=True),
        At("message", Words(), "a sentence for a person", needed=True),
        At("lastTransitionTime", Moment(), "when status last changed", needed=True),
        At("observedGeneration", Count(), "the generation of the object that this is about"),
    )
)

COMMON: Final = (
    At("observedGeneration", Count(), "the generation of the object that was last acted on"),
    At(
        "conditions",
        Many(CONDITION),
        "kstatus: Ready says whether it works, Reconciling that it is at work, Stalled that nothing helps until the "
        "object changes",
    ),
    At(
        "lastHandledReconcileAt",
        Words(),
        "the value of the annotation image-updater.dev/requestedAt that was last acted on",
    ),
)

POLICY_STATUS: Final = Record((*COMMON, *policystatus.FIELDS))

# ------------------------------------------------------------------------------------------- GitRepository

REPOSITORY_STATUS: Final = Record(
    (
        *COMMON,
        At("revision", Words(), "what the ref points to: `main@sha1:<commit>`"),
        At("verified", Words(), "the commit whose signature was checked, and by which key"),
    )
)

# ------------------------------------------------------------------------------------------- ImageUpdateAutomation

SITE: Final = Record(
    (
        At("file", Words(), "file in the repository", needed=True),
        At("line", Count(), "line of the file, from 1"),
        At("field", Words(), "field that holds the image"),
        At("image", Words(), "the image that is rendered"),
        At("policy", Words(), "the policy that claims it (namespace/name, or the annotation's)"),
        At("current", Words(), "what stands there"),
        At("wanted", Words(), "what the policy wants there"),
        At("state", Words(), "held, manual, ignored, conflict, remote, refused or unmanaged", needed=True),
        At("reason", Words(), "why"),
    )
)

AUTOMATION_STATUS: Final = Record(
    (
        *COMMON,
        At("lastPushCommit", Words(), "the last commit that was pushed"),
        At("lastPushTime", Moment(), "when it was pushed"),
        At("observedRevision", Words(), "the revision that the sites below are of"),
        At("siteCounts", Counts(), "image sites by state"),
        At("sites", Many(SITE, 100), "sites that are not current"),
        At(
            "problems",
            Many(
                Record(
                    (
                        At("file", Words(), "file in the repository", needed=True),
                        At("line", Count(), "line of the file, from 1"),
                        At("reason", Words(), "what is wrong with it", needed=True),
                    )
                ),
                20,
            ),
            "files that cannot be read",
        ),
        At(
            "policies",
            Many(
                Record(
                    (
                        At("name", Words(), "its name: the workload's annotation it comes from", needed=True),
                        At("image", Words(), "name of the image", needed=True),
                        At("tag", Words(), "the chosen tag"),
                        At("digest", Words(), "its digest"),
                        At("reason", Words(), "why"),
                    )
                ),
                100,
            ),
            "policies that come from annotations on workloads in Git",
        ),
        At("pullRequest", Words(), "address of the open pull request: nothing fills it yet"),
    )
)

# ------------------------------------------------------------------------------------------- Kustomization

_OBJECT_ID: Final = "the object: namespace_name_group_kind"

ROLLOUT: Final = Record(
    (
        At("id", Words(), _OBJECT_ID, needed=True),
        At(
            "state",
            Words(
                (
                    "pending",
                    "progressing",
                    "waiting-approval",
                    "suspended",
                    "healthy",
                    "healthy-unanalysed",
                    "rolled-back-healthy",
                    "failed",
                    "failed-during-promotion",
                    "terminating",
                )
            ),
            "what its rollout has come to",
            needed=True,
        ),
        At("culprit", Words(("tag", "environment", "unknown")), "of a failure: whose it is"),
        At("reason", Words(), "why"),
        At("since", Moment(), "since when"),
        At("revision", Words(), "the revision that was rolled out"),
        At("images", Many(Words(), 30), "images of its pods, as applied: `container=image`"),
        At("failing", Many(Words(), 30), "containers that fail, where that is known"),
        At("canary", Words(), "the Canary that judges it: namespace_name_group_kind"),
    )
)

KUSTOMIZATION_STATUS: Final = Record(
    (
        *COMMON,
        At(
            "lastAppliedRevision",
            Words(),
            "the last revision that was applied whole and changed something here; others are not written",
        ),
        At("lastAttemptedRevision", Words(), "the last revision that was tried"),
        At(
            "lastAppliedContent",
            Words(),
            "digest of the rendered files and of spec as they were last applied: what is equal is not applied again",
        ),
        At(
            "inventory",
            Record(
                (
                    At(
                        "entries",
                        Many(
                            Record(
                                (
                                    At("id", Words(), _OBJECT_ID, needed=True),
                                    At("v", Words(), "its API version, without the group", needed=True),
                                )
                            )
                        ),
                        "the objects, as Flux writes them",
                    ),
                    At(
                        "configMaps",
                        Many(
                            Record(
                                (
                                    At("name", Words(), "name of the ConfigMap, in the same namespace", needed=True),
                                    At("digest", Words(), "digest of its content", needed=True),
                                )
                            )
                        ),
                        "ConfigMaps that hold the entries when there are too many for one object",
                    ),
                    At("count", Count(), "how many entries the ConfigMaps hold"),
                )
            ),
            "every object that is, or may be, applied: what prune may delete",
        ),
        At(
            "cluster",
            Words(),
            "address of the API server that the inventory is of; absent: the cluster that this object is in",
        ),
        At(
            "drift",
            Many(
                Record(
                    (
                        At("id", Words(), _OBJECT_ID, needed=True),
                        At("fields", Many(Words(), 20), "paths of the fields that differ"),
                    )
                ),
                50,
            ),
            "objects that differ from Git, with `drift: warn`",
        ),
        At(
            "unhealthy",
            Many(
                Record(
                    (
                        At("id", Words(), _OBJECT_ID, needed=True),
                        At("status", Words(), "InProgress, Failed, Terminating, NotFound or Unknown", needed=True),
                        At("message", Words(), "what the object says"),
                    )
                ),
                50,
            ),
            "objects that are not healthy",
        ),
        At("healthCounts", Counts(), "objects by health"),
        At(
            "rollouts",
            Many(ROLLOUT, 50),
            "workloads whose rollout is not healthy: the rest is",
        ),
        At(
            "rolloutsUnproven",
            Many(Words(), 50),
            "workloads that are healthy only because nothing ran, or nothing was analysed: namespace_name_group_kind",
        ),
        At(
            "rolloutsSettled",
            Words(),
            "digest of the pod templates whose rollouts are settled: healthy once, they are looked at again when they "
            "change",
        ),
        At(
            "failed",
            Many(
                Record(
                    (
                        At("id", Words(), _OBJECT_ID, needed=True),
                        At("reason", Words(), "what the server said", needed=True),
                    )
                ),
                50,
            ),
            "objects that could not be applied or deleted",
        ),
    )
)

STATUS: Final[Mapping[str, Record]] = {
    "ImagePolicy": POLICY_STATUS,
    "GitRepository": REPOSITORY_STATUS,
    "ImageUpdateAutomation": AUTOMATION_STATUS,
    "Kustomization": KUSTOMIZATION_STATUS,
}
"""By kind."""


REASONS: Final[Mapping[str, str]] = {
    "Succeeded": "it works; the message says what was decided, fetched or written",
    "ReconciliationSucceeded": "the revision is applied, and healthy where that is waited for",
    "Progressing": "at work: the message says with what",
    "Suspended": "`spec.suspend` is set: nothing is done",
    "Held": "an ImagePolicy chooses nothing, or its tag is not written: a gate or a person stops it; the message says "
    "which, and until when where that is known",
    "NothingEligible": "no tag of the image fits the policy; `image-updater explain` says why of each",
    "Frozen": "a Freeze or a ClusterFreeze stops the policy; the message has its reason and its end",
    "OutsideWindow": "the tag waits for the next of `spec.windows`",
    "AwaitingApproval": "the tag waits for people: `image-updater approve`",
    "Soaking": "the tag has not proven itself yet: `spec.minAge`, or `spec.after` with its `soak`",
    "AwaitingGroup": "the tag waits for the other policies of `spec.group`",
    "Quarantined": "an Event: an image may not be chosen any more",
    "Unverified": "the tag has no signature that `spec.verify` accepts",
    "PreflightFailed": "an Event: a part of an image is not at the registry: its tag is not written yet",
    "HoldBegun": "an Event: a person's change in Git, a wish or a failed rollout holds the policy",
    "HoldEnded": "an Event: a newer tag, a resume or its end has lifted a hold",
    "Approved": "an Event: somebody agreed to a tag",
    "Denied": "an Event: somebody denied a tag or a digest",
    "Resumed": "an Event: somebody said that a policy may go on",
    "RolloutFailed": "an Event: the rollout of a workload failed; the message says whose failure it is",
    "RolloutHealthy": "an Event: the rollout of a tag of ours is healthy, and the tag is proven",
    "RollbackIntended": "an Event: a failed rollout will be taken back by a commit",
    "RolledBack": "an Event: a commit has taken an image back to the last proven one",
    "RollbackRefused": "an Event: an image is not taken back; the message says why",
    "ProofWithdrawn": "an Event: a proven tag has failed later, and counts no more",
    "BreakerOpen": "several rollouts failed at once, or two bad tags in a row: nothing is written until `resume`",
    "CommitPushed": "an Event: images were moved in Git",
    "SitesRefused": "an Event: images that should move and cannot; `status.sites` has them all",
    "HealthCheckFailed": "applied, and not healthy: failed, or not healthy within `spec.timeout`",
    "ApplyFailed": "objects could not be applied, for several reasons; `status.failed` has them",
    "PruneFailed": "objects that left Git could not be deleted; they stay in the inventory and are tried again",
    "ClusterChanged": "an Event: `spec.kubeConfig` names another cluster; what was applied stays in the one before",
    "PruneAbandoned": "the Kustomization is deleted, and what it applied stays, because nothing can delete it any more",
}
"""Reasons of conditions and Events that are no errors of the tree (errors.py). A test finds those that are missing."""


def ready_of(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """The condition `Ready` of a status; empty where there is none yet."""
    return next((each for each in status.get("conditions") or () if each.get("type") == "Ready"), {})


def status_fields(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A status as JSON, None left out, lists cut to their length. Raises UndeclaredStatus for what is not declared."""
    return STATUS[kind].json(fields, "status")
