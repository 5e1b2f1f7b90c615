"""The custom resources as frozen values (design: group `image-updater.dev/v1alpha1`).

Parsing lives in `decode.py` and one file a kind. Durations are `timedelta`; `source` says where an object was read, so
that an error found later can still name file and line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from image_updater.api.gates import After as After
from image_updater.api.gates import HoldUntil as HoldUntil
from image_updater.api.gates import Keyless as Keyless
from image_updater.api.gates import Start as Start
from image_updater.api.gates import Verify as Verify
from image_updater.api.gates import Window as Window
from image_updater.api.strategies import AlphabeticalPolicy as AlphabeticalPolicy
from image_updater.api.strategies import CalverPolicy as CalverPolicy
from image_updater.api.strategies import DigestPolicy as DigestPolicy
from image_updater.api.strategies import NewestBy as NewestBy
from image_updater.api.strategies import NewestPolicy as NewestPolicy
from image_updater.api.strategies import NumericalPolicy as NumericalPolicy
from image_updater.api.strategies import Order as Order
from image_updater.api.strategies import SemverPolicy as SemverPolicy
from image_updater.api.strategies import Strategy as Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from image_updater.errors import Where

GROUP = "image-updater.dev"
API_VERSION = f"{GROUP}/v1alpha1"


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Namespace and name; printed `namespace/name`. The namespace of kinds of the cluster is empty."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where an object was read: file as named by the user, and a function from a field path
    (`spec.policy.semver.range`) to its line.
    """

    file: str | None = None
    line: int | None = None
    where: Callable[[str], Where] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    key: ObjectKey
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = field(default=None, compare=False)
    """metadata.creationTimestamp, where a server has set it."""
    source: Source = field(default_factory=Source, compare=False)


# ---------------------------------------------------------------------------------------------- ImagePolicy


class DigestReflection(StrEnum):
    NEVER = "Never"
    IF_NOT_PRESENT = "IfNotPresent"
    ALWAYS = "Always"


class Provider(StrEnum):
    GENERIC = "generic"
    AWS = "aws"
    AZURE = "azure"
    GCP = "gcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterTags:
    """RE2 `pattern` (unanchored, as in Flux), `extract` template (`$ts`, `$1`, `${name}`), `exclude` patterns."""

    pattern: str | None = None
    extract: str | None = None
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePolicy:
    """One image: where it is, which tag wins. `reflection` already accounts for `digest` (which implies Always)."""

    meta: Meta
    image: str
    strategy: Strategy
    interval: timedelta = timedelta(minutes=5)
    timeout: timedelta = timedelta(seconds=30)
    secret_ref: str | None = None
    service_account_name: str | None = None
    pull_secrets: tuple[ObjectKey, ...] = ()
    """In a cluster: the pull secrets of the service account (or, for an annotation's policy, of the workload), found by
    the controller; asked in this order where there is no `secret_ref`."""
    pull_accounts: tuple[ObjectKey, ...] = ()
    """Of an annotation's policy: the service accounts of the workloads, whose pull secrets are asked after those."""
    pull_note: str = ""
    """Why some pull secret does not serve this policy."""
    found_by: ObjectKey | None = None
    """Of an annotation's policy in a cluster: the automation that found it in Git."""
    provider: Provider = Provider.GENERIC
    cert_secret_ref: str | None = None
    proxy_secret_ref: str | None = None
    insecure: bool = False
    filter_tags: FilterTags = field(default_factory=FilterTags)
    reflection: DigestReflection = DigestReflection.NEVER
    preflight: bool = True
    allow_downgrade: bool = False
    deny: tuple[str, ...] = ()
    min_age: timedelta = timedelta(0)
    platforms: tuple[str, ...] = ()
    """`os/arch[/variant]` that an image must have."""
    from_nodes: bool = False
    """Also those of the cluster's nodes."""
    verify: Verify | None = None
    windows: tuple[Window, ...] = ()
    after: After | None = None
    group: str | None = None
    approvals: int = 0
    hold: HoldUntil = HoldUntil.NEWER
    start: Start = Start.NEWEST
    suspend: bool = False

    @property
    def key(self) -> ObjectKey:
        return self.meta.key


# ---------------------------------------------------------------------------------------------- GitRepository


@dataclass(frozen=True, slots=True, kw_only=True)
class GitRef:
    branch: str | None = None
    tag: str | None = None
    commit: str | None = None


class VerifyMode(StrEnum):
    HEAD = "HEAD"
    TAG = "Tag"
    TAG_AND_HEAD = "TagAndHEAD"


@dataclass(frozen=True, slots=True, kw_only=True)
class GitVerification:
    """Trusted keys come from the Secret: `*.asc` OpenPGP, `*.sshpub`/`*.pub` SSH."""

    secret_ref: str
    mode: VerifyMode = VerifyMode.HEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class GitRepository:
    meta: Meta
    url: str
    ref: GitRef = field(default_factory=GitRef)
    interval: timedelta = timedelta(minutes=1)
    timeout: timedelta = timedelta(seconds=60)
    secret_ref: str | None = None
    cert_secret_ref: str | None = None
    proxy_secret_ref: str | None = None
    verify: GitVerification | None = None
    suspend: bool = False

    @property
    def key(self) -> ObjectKey:
        return self.meta.key


# ---------------------------------------------------------------------------------------------- ImageUpdateAutomation


class UpdateStrategy(StrEnum):
    AUTO = "Auto"
    SETTERS = "Setters"


class ProofLevel(StrEnum):
    PARSED = "parsed"
    RENDERED = "rendered"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelector:
    """Kubernetes `matchLabels` and `matchExpressions` (operators In, NotIn, Exists, DoesNotExist); empty matches
    everything.
    """

    match_labels: Mapping[str, str] = field(default_factory=dict)
    match_expressions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(k) == v for k, v in self.match_labels.items()) and all(
            _matches(labels, key, operator, values) for key, operator, values in self.match_expressions
        )


def _matches(labels: Mapping[str, str], key: str, operator: str, values: tuple[str, ...]) -> bool:
    match operator:
        case "In":
            return labels.get(key) in values if key in labels else False
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """`spec.update`.

    `paths` are repository-relative with `/`, without leading `./`; () = the whole repository. `proof` is the weakest
    level allowed.
    """

    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    strategy: UpdateStrategy = UpdateStrategy.AUTO
    proof: ProofLevel = ProofLevel.PARSED
    follow_refs: bool = True
    patches: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    name: str = "image-updater"
    email: str = "image-updater@users.noreply.github.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """`spec.git.commit`.

    `signing_key` names a Secret: `git.asc` + `passphrase` (OpenPGP) or `identity` + `password` (SSH).
    """

    author: Author = field(default_factory=Author)
    message_template: str | None = None
    message_template_values: Mapping[str, str] = field(default_factory=dict)
    signing_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    quiet: timedelta = timedelta(0)
    max: timedelta = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageUpdateAutomation:
    meta: Meta
    source_ref: ObjectKey | None
    policy_selector: LabelSelector = field(default_factory=LabelSelector)
    interval: timedelta = timedelta(minutes=1)
    update: Update = field(default_factory=Update)
    commit: Commit = field(default_factory=Commit)
    push_branch: str | None = None
    batch: Batch = field(default_factory=Batch)
    windows: tuple[Window, ...] = ()
    proven_file: str | None = None
    """`spec.git.provenFile`: the file of the branch in which this automation keeps what its policies have proven."""
    suspend: bool = False

    @property
    def key(self) -> ObjectKey:
        return self.meta.key


# ---------------------------------------------------------------------------------------------- Kustomization, Secret


class Drift(StrEnum):
    """What happens to changes made in the cluster to fields that Git sets."""

    CORRECT = "correct"
    WARN = "warn"
    OFF = "off"


class OnFailure(StrEnum):
    """What a failed rollout of our own tag leads to."""

    HOLD = "hold"
    ROLLBACK = "rollback"
    NONE = "none"


class DeletionPolicy(StrEnum):
    """What happens to the applied objects when the Kustomization itself is deleted."""

    MIRROR_PRUNE = "MirrorPrune"
    DELETE = "Delete"
    ORPHAN = "Orphan"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """An object that must be healthy too; `namespace` None = that of the Kustomization, for namespaced kinds."""

    kind: str
    name: str
    api_version: str | None = None
    namespace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretKey:
    """One key of a Secret in the object's namespace; None = `value`, then `value.yaml`, as in Flux."""

    name: str
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kustomization:
    """A path of a repository and how it is applied. The line needs which path is a root and what is laid over it; the
    rest is for the sync.
    """

    meta: Meta
    source_ref: ObjectKey | None
    path: str
    images: tuple[Mapping[str, str], ...] = ()
    patches: tuple[Mapping[str, object], ...] = ()
    components: tuple[str, ...] = ()
    target_namespace: str | None = None
    name_prefix: str | None = None
    name_suffix: str | None = None
    common_labels: Mapping[str, str] = field(default_factory=dict)
    """`spec.commonMetadata.labels`: on the metadata of every object, never on selectors or pod templates."""
    common_annotations: Mapping[str, str] = field(default_factory=dict)
    interval: timedelta = timedelta(minutes=10)
    retry_interval: timedelta | None = None
    timeout: timedelta | None = None
    prune: bool = False
    wait: bool = False
    force: bool = False
    suspend: bool = False
    service_account_name: str | None = None
    depends_on: tuple[ObjectKey, ...] = ()
    health_checks: tuple[HealthCheck, ...] = ()
    kube_config: SecretKey | None = None
    drift: Drift = Drift.CORRECT
    deletion_policy: DeletionPolicy = DeletionPolicy.MIRROR_PRUNE
    on_failure: OnFailure = OnFailure.HOLD

    @property
    def key(self) -> ObjectKey:
        return self.meta.key


# ---------------------------------------------------------------------------------------------- Freeze, Quarantine


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """Nothing is written for these policies from `starts` (None = now) until `expires` (None = until it is deleted).

    A ClusterFreeze has the namespace `""` and stops the policies of `namespaces` (() = all). `policies` are those it
    stops, `exceptions` those of them that it does not.
    """

    meta: Meta
    reason: str
    starts: datetime | None = None
    expires: datetime | None = None
    allow_rollback: bool = False
    policies: LabelSelector = field(default_factory=LabelSelector)
    exceptions: LabelSelector | None = None
    namespaces: tuple[str, ...] = ()
    title: str = ""
    """What it is called where it is no Freeze: a Quarantine that cannot be read stops like one."""

    @property
    def key(self) -> ObjectKey:
        return self.meta.key

    @property
    def cluster(self) -> bool:
        return not self.meta.key.namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """An image that nobody may choose: `tag`, `digest` or both; with a digest the bytes are bad under every tag, and
    other bytes under that tag are not. A ClusterQuarantine has the namespace `""`.
    """

    meta: Meta
    image: str
    tag: str | None = None
    digest: str | None = None
    reason: str = ""
    source: str = ""
    """`commit <id>` where it was derived from the trailer of a commit; empty = a person made it."""
    since: datetime | None = None
    """metadata.creationTimestamp, in a cluster."""
    expires: datetime | None = None

    @property
    def key(self) -> ObjectKey:
        return self.meta.key

    @property
    def cluster(self) -> bool:
        return not self.meta.key.namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Decoded data by key; never printed."""

    meta: Meta
    type: str = "Opaque"
    data: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """Everything that objects files hold, in file order."""

    policies: tuple[ImagePolicy, ...] = ()
    repositories: tuple[GitRepository, ...] = ()
    automations: tuple[ImageUpdateAutomation, ...] = ()
    kustomizations: tuple[Kustomization, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    """Freeze and ClusterFreeze."""
    quarantines: tuple[Quarantine, ...] = ()
    """Quarantine and ClusterQuarantine."""
    secrets: Mapping[ObjectKey, Secret] = field(default_factory=dict, repr=False)
    encrypted: tuple[ObjectKey, ...] = ()
    """Secrets that are there but encrypted (SOPS): not usable, and a reference to one says so."""
