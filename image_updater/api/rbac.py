"""Rights of the controller, by role, each with its reason: the least that works.

What a Kustomization applies is not ours: it is applied as a service account of its namespace, and that account's rights
decide. So the controller may read what Git may have set (to see drift) and impersonate, but change nothing itself.
Secrets are read by name: no rule has `list` or `watch` for them.

Everybody who is authenticated may ask what the server serves and what he himself may do (`system:discovery`,
`system:basic-user`): no rule repeats that.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from image_updater.api.kinds import KINDS
from image_updater.api.model import GROUP
from image_updater.settings import Role

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


class Place(StrEnum):
    """Where a rule is bound."""

    WATCHED = "watched"
    """In the namespaces that are worked on: a Role in each, or a ClusterRole for all."""
    OWN = "own"
    """In the controller's own namespace: a Role."""
    CLUSTER = "cluster"
    """Kinds without a namespace: in a ClusterRole, and only when the whole cluster is worked on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule, who needs it, where, and why."""

    groups: tuple[str, ...]
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    roles: frozenset[Role]
    place: Place
    why: str

    def json(self) -> dict[str, Any]:
        """As a PolicyRule of `rbac.authorization.k8s.io/v1`."""
        return {"apiGroups": list(self.groups), "resources": list(self.resources), "verbs": list(self.verbs)}


_READ: Final = ("get", "list", "watch")
_ALL: Final = frozenset(Role)
_UPDATE: Final = frozenset({Role.UPDATE})
_SYNC: Final = frozenset({Role.SYNC})
_BOTH: Final = frozenset({Role.UPDATE, Role.SYNC})
_DRIFT: Final = "watches tell when something that was applied moves (metadata alone), and when it has become healthy"
_OURS: Final = tuple(kind.plural for kind in KINDS.values() if not kind.cluster)
_OURS_OF_THE_CLUSTER: Final = tuple(kind.plural for kind in KINDS.values() if kind.cluster)


def _rule(
    groups: str | tuple[str, ...],
    resources: str,
    verbs: tuple[str, ...],
    roles: frozenset[Role],
    why: str,
    place: Place = Place.WATCHED,
) -> Rule:
    return Rule(
        groups=(groups,) if isinstance(groups, str) else groups,
        resources=tuple(resources.split()),
        verbs=verbs,
        roles=roles,
        place=place,
        why=why,
    )


RULES: Final[tuple[Rule, ...]] = (
    _rule(GROUP, " ".join(_OURS), _READ, _ALL, "our objects are what the controller works on"),
    _rule(
        GROUP,
        " ".join(_OURS_OF_THE_CLUSTER),
        _READ,
        _ALL,
        "what is frozen, and which images are bad, in every namespace",
        Place.CLUSTER,
    ),
    _rule(
        GROUP,
        "quarantines",
        ("create", "delete"),
        _UPDATE,
        "Quarantines are derived from the records of commits",
    ),
    _rule(
        GROUP,
        "imagepolicies/status imageupdateautomations/status",
        ("patch",),
        _UPDATE,
        "decisions and sites are written to status",
    ),
    _rule(
        GROUP, "gitrepositories/status", ("patch",), _SYNC, "the revision, or why there is none, is written to status"
    ),
    _rule(
        GROUP,
        "kustomizations/status",
        ("patch",),
        _SYNC,
        "the inventory and the outcome are written to status",
    ),
    _rule(
        GROUP,
        "kustomizations",
        ("patch",),
        _SYNC,
        "a finalizer, so that a deleted Kustomization can delete what it applied",
    ),
    _rule(
        "",
        "secrets",
        ("get",),
        _BOTH,
        "logins, CAs, signing keys and kubeconfigs that our objects name; by name, never listed",
    ),
    _rule(
        "",
        "serviceaccounts",
        ("get",),
        _UPDATE,
        "the pull secrets of the service account that a policy, or a workload, has",
    ),
    _rule(
        "authorization.k8s.io",
        "subjectaccessreviews",
        ("create",),
        _UPDATE,
        "another namespace's pull secrets are used only where the automation's own account may get them",
        Place.CLUSTER,
    ),
    _rule(
        "",
        "serviceaccounts",
        ("impersonate",),
        _SYNC,
        "manifests are applied as a service account of the Kustomization's namespace, never as the controller",
    ),
    _rule(
        "",
        "configmaps",
        ("get", "create", "patch", "delete"),
        _SYNC,
        "an inventory that is too long for one object goes to ConfigMaps beside it",
    ),
    *(
        _rule(group, resources, _READ, _SYNC, _DRIFT)
        for group, resources in (
            ("", "configmaps endpoints limitranges persistentvolumeclaims pods replicationcontrollers"),
            ("", "resourcequotas serviceaccounts services"),
            ("apps", "daemonsets deployments replicasets statefulsets"),
            ("autoscaling", "horizontalpodautoscalers"),
            ("batch", "cronjobs jobs"),
            ("discovery.k8s.io", "endpointslices"),
            ("networking.k8s.io", "ingresses networkpolicies"),
            ("policy", "poddisruptionbudgets"),
            ("rbac.authorization.k8s.io", "rolebindings roles"),
        )
    ),
    _rule(
        "",
        "events",
        ("list",),
        _SYNC,
        "what Flagger has warned of where a canary failed: whose failure it is",
    ),
    _rule(
        "",
        "nodes",
        ("list",),
        _UPDATE,
        "the platforms that `fromNodes` asks for",
        Place.CLUSTER,
    ),
    _rule(
        ("flagger.app", "keda.sh"),
        "canaries scaledobjects",
        _READ,
        _SYNC,
        "the number of replicas stays with what scales a workload",
    ),
    _rule(
        "flagger.app",
        "canaries",
        ("get",),
        frozenset({Role.WEB}),
        "which workload a Canary is about whose gate is asked (--flagger-token-file)",
    ),
    *(
        _rule(group, resources, _READ, _SYNC, _DRIFT, Place.CLUSTER)
        for group, resources in (
            ("", "namespaces persistentvolumes"),
            ("admissionregistration.k8s.io", "mutatingwebhookconfigurations validatingwebhookconfigurations"),
            ("admissionregistration.k8s.io", "validatingadmissionpolicies validatingadmissionpolicybindings"),
            ("apiextensions.k8s.io", "customresourcedefinitions"),
            ("apiregistration.k8s.io", "apiservices"),
            ("networking.k8s.io", "ingressclasses"),
            ("rbac.authorization.k8s.io", "clusterrolebindings clusterroles"),
            ("scheduling.k8s.io", "priorityclasses"),
            ("storage.k8s.io", "csidrivers storageclasses"),
        )
    ),
    _rule(
        "events.k8s.io",
        "events",
        ("create", "patch"),
        _BOTH,
        "transitions are told as Events beside the object",
    ),
    _rule(
        "coordination.k8s.io",
        "leases",
        ("get", "create", "update"),
        _BOTH,
        "one of several replicas works at a time",
        Place.OWN,
    ),
)
"""In the order of the reference page."""


def chosen(roles: Collection[str], *places: Place, watch_groups: Iterable[str] = ()) -> tuple[Rule, ...]:
    """The rules of these roles in these places.

    `watch_groups` are API groups of custom kinds that Git sets and whose drift is to be seen at once; without a right
    to watch them it is seen at the interval.
    """
    wanted = {Role(each) for each in roles}
    found = [rule for rule in RULES if rule.place in places and rule.roles & wanted]
    if Place.WATCHED in places and Role.SYNC in wanted:
        found += [
            Rule(
                groups=(group,),
                resources=("*",),
                verbs=_READ,
                roles=_SYNC,
                place=Place.WATCHED,
                why="asked for: drift of these kinds is seen at once",
            )
            for group in watch_groups
        ]
    return tuple(found)


def rules(roles: Collection[str], *places: Place, watch_groups: Iterable[str] = ()) -> list[dict[str, Any]]:
    """`chosen` as JSON."""
    return [rule.json() for rule in chosen(roles, *places, watch_groups=watch_groups)]


VIEW: Final[tuple[dict[str, Any], ...]] = (
    {"apiGroups": [GROUP], "resources": [*_OURS, *_OURS_OF_THE_CLUSTER], "verbs": list(_READ)},
)
"""For people: joins the cluster's own roles `view`, `edit` and `admin`."""

EDIT: Final[tuple[dict[str, Any], ...]] = (
    {
        "apiGroups": [GROUP],
        "resources": list(_OURS),
        "verbs": ["create", "delete", "deletecollection", "patch", "update"],
    },
)
"""For people: joins `edit` and `admin`; kinds of the cluster are for its administrators. Whoever has it in a namespace
may have anything applied as any of its service accounts, which `edit` allows anyway: it may impersonate them.
"""


def table() -> dict[str, Any]:
    """All rules as one value, for the chart: `{rules: [{place, roles, why, rule}], view: […], edit: […]}`."""
    return {
        "rules": [
            {
                "place": rule.place.value,
                "roles": [role.value for role in Role if role in rule.roles],
                "why": rule.why,
                "rule": rule.json(),
            }
            for rule in RULES
        ],
        "view": list(VIEW),
        "edit": list(EDIT),
    }
