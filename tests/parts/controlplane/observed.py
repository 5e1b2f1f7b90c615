"""What an API server was asked: its counters, and its audit log."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

POLICY: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        # The plane's own components: most of the traffic, and nobody's question.
        {
            "level": "None",
            "users": [
                "kwok",
                "system:apiserver",
                "system:kube-controller-manager",
                "system:kube-scheduler",
            ],
        },
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
        # A watch counts when it begins, not once more when it ends.
        {"level": "Metadata", "verbs": ["watch"], "omitStages": ["RequestReceived", "ResponseComplete"]},
        {"level": "Metadata"},
    ],
}

_TOTAL = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """One request, from the audit log."""

    user: str
    """Who logged in: `system:serviceaccount:NAMESPACE:NAME`, `admin`."""
    impersonated: str | None
    verb: str
    """get, list, watch, create, update, patch, delete, deletecollection."""
    group: str
    resource: str
    """The plural; empty for paths such as /version."""
    subresource: str
    namespace: str
    name: str
    code: int
    user_agent: str
    uri: str

    @property
    def writes(self) -> bool:
        return self.verb not in ("get", "list", "watch")


def read_audit(text: str) -> Iterator[Audit]:
    """The complete lines of an audit log (JSON, stages ResponseStarted of watches, ResponseComplete, Panic)."""
    for line in text.splitlines():
        event = json.loads(line)
        where = event.get("objectRef", {})
        yield Audit(
            user=event["user"].get("username", ""),
            impersonated=event.get("impersonatedUser", {}).get("username"),
            verb=event["verb"],
            group=where.get("apiGroup", ""),
            resource=where.get("resource", ""),
            subresource=where.get("subresource", ""),
            namespace=where.get("namespace", ""),
            name=where.get("name", ""),
            code=event.get("responseStatus", {}).get("code", 0),
            user_agent=event.get("userAgent", ""),
            uri=event["requestURI"],
        )


class Requests(Counter[tuple[str, str, str]]):
    """Requests answered so far, of all users: (verb as in GET or WATCH, resource, code) to their number."""

    def difference(self, before: Requests) -> Requests:
        """Only what was added since."""
        return Requests({key: number - before[key] for key, number in self.items() if number > before[key]})

    def of(self, resource: str) -> Requests:
        return Requests({key: number for key, number in self.items() if key[1] == resource})

    @property
    def sum(self) -> int:
        return sum(self.values())


def read_requests(metrics: str) -> Requests:
    """From the text of /metrics."""
    counts = Requests()
    for labels, number in _TOTAL.findall(metrics):
        found = dict(_LABEL.findall(labels))
        counts[found["verb"], found["resource"], found["code"]] += int(float(number))
    return counts
