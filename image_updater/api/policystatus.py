"""Status of an ImagePolicy: what it chose, what holds it, what it has proven, and how long that took."""

from __future__ import annotations

from typing import Final

from image_updater.api.shapes import At, Count, Many, Moment, Record, Words

_TAG: Final = At("tag", Words(), "the tag", needed=True)
_DIGEST: Final = At("digest", Words(), "its digest, where one is known")
_BY: Final = At("by", Words(), "who")

NAMED: Final = 20
"""Approvals, and denials, that status names: the last ones."""

LATEST: Final = Record(
    (
        At("image", Words(), "name of the image", needed=True),
        At("tag", Words(), "the chosen tag", needed=True),
        _DIGEST,
        At("since", Moment(), "when it was chosen"),
    )
)

CANDIDATE: Final = Record(
    (
        _TAG,
        At("verdict", Words(("chosen", "eligible", "held", "rejected")), "what the policy says of it", needed=True),
        At("reason", Words(), "why"),
        _DIGEST,
        At("firstSeen", Moment(), "when it was first seen here"),
    )
)

PROVEN: Final = Record(
    (
        _TAG,
        _DIGEST,
        At("since", Moment(), "when its rollout had become healthy"),
        At("environment", Words(), "the Kustomization (namespace/name) in which it did"),
        At("revision", Words(), "the revision that was applied: `main@sha1:<commit>`"),
        At("withdrawn", Moment(), "when it failed there later: it counts no more"),
    )
)

HOLD: Final = Record(
    (
        At("reason", Words(), "why the policy writes nothing", needed=True),
        At("tag", Words(), "the tag up to which it writes nothing; absent: it writes nothing at all"),
        _DIGEST,
        At("by", Words(), "who held it"),
        At("since", Moment(), "since when"),
        At("until", Moment(), "until when"),
    )
)

SEEN: Final = Record((_TAG, _DIGEST, At("seen", Moment(), "when the tag was first seen with these bytes", needed=True)))

APPROVAL: Final = Record((_TAG, _DIGEST, _BY, At("at", Moment(), "when")))

DENIED: Final = Record(
    (
        At("what", Words(), "the tag or the digest", needed=True),
        _BY,
        At("at", Moment(), "when"),
        At("reason", Words(), "why"),
    )
)

ROLLBACK: Final = Record(
    (
        At(
            "state",
            Words(("Intended", "Pushed", "Done", "Ended", "Refused")),
            "`Intended` before the push, `Pushed` once the commit is on the server, `Done` when the image of before is "
            "healthy again, `Ended` when something else came between, `Refused` when it may not or cannot be made",
            needed=True,
        ),
        At("image", Words(), "name of the image"),
        At("tag", Words(), "the tag that is taken back"),
        _DIGEST,
        At("to", Words(), "the tag that it goes back to"),
        At("toDigest", Words(), "the digest of that"),
        At("place", Words(), "the branch that is written: `repository branch`"),
        At("kustomization", Words(), "the Kustomization (namespace/name) whose rollout failed"),
        At("object", Words(), "the workload that failed"),
        At("reason", Words(), "why"),
        At("since", Moment(), "when the failure was seen, or somebody asked"),
        At("commit", Words(), "the commit that takes it back"),
        At("requested", Moment(), "the time of the wish (`image-updater rollback`) that was answered last"),
        At("message", Words(), "what became of it"),
    )
)

LEAD_TIME: Final = Record(
    (
        _TAG,
        _DIGEST,
        At("environment", Words(), "the Kustomization (namespace/name) that applied it"),
        At("pushed", Moment(), "when the registry says that it was pushed"),
        At("seen", Moment(), "when it was first seen"),
        At("eligible", Moment(), "when it could be written"),
        At("committed", Moment(), "when it was committed"),
        At("applied", Moment(), "when it was applied"),
        At("healthy", Moment(), "when its rollout was healthy"),
        At("failed", Moment(), "when its rollout failed"),
        At("commit", Words(), "the commit that wrote it"),
        At("revision", Words(), "the revision that was applied"),
        At("seconds", Count(), "from the push (or when it was seen) until it was healthy"),
    )
)

FIELDS: Final = (
    At("latest", LATEST, "the image that the policy chose"),
    At("candidates", Many(CANDIDATE, 10), "the best tags, best first; `image-updater explain` has them all"),
    At("tagCount", Count(), "tags of the image when the last decision was made"),
    At("eligibleAt", Moment(), "when a held tag can be written, if nothing but time is missing"),
    At("hold", HOLD, "what a person, or a failed rollout, has stopped"),
    At("firstSeen", Many(SEEN, 20), "candidates that wait for `minAge`"),
    At("denied", Many(DENIED, NAMED), "tags and digests that people have denied (`image-updater deny`)"),
    At(
        "resumed",
        Record((At("at", Moment(), "when", needed=True), _BY)),
        "when somebody last said that it may go on (`image-updater resume`)",
    ),
    At("approvals", Many(APPROVAL, NAMED), "who has agreed to which tags: the last ones"),
    At("proven", Many(PROVEN, 20), "tags whose rollout was healthy, newest first"),
    At("rollback", ROLLBACK, "the last rollback: what is intended, and what became of it"),
    At("rollbacks", Many(ROLLBACK, 20), "those of other workloads that are not at their end"),
    At(
        "breaker",
        Record((At("reason", Words(), "why", needed=True), At("since", Moment(), "since when"))),
        "nothing is written until somebody resumes the policy",
    ),
    At("leadTime", LEAD_TIME, "how long the last tag took from the registry to a healthy rollout"),
    At(
        "history",
        Many(LEAD_TIME, 20),
        "the same of the tags before it, newest first: what `image-updater history` prints",
    ),
)
