"""429 for one user, by API Priority and Fairness.

A priority level without seats and with a queue of one, in which a request of ours waits all the time: whoever comes
next finds the queue full. (Without a queue, a level lets a lone request pass however few seats it has.)
"""

from __future__ import annotations

import secrets
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.parts.controlplane.api import Api, ApiError, Object
from tests.parts.controlplane.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

_VERSION = "flowcontrol.apiserver.k8s.io/v1"


@contextmanager
def throttled(admin: Api, account: Api, namespace: str, name: str) -> Iterator[None]:
    """`account` is the service account `name` of `namespace`."""
    level = f"throttled-{secrets.token_hex(4)}"
    done = threading.Event()

    def fill() -> None:
        while not done.is_set():
            _code(account, 60)

    filler = threading.Thread(target=fill, daemon=True)
    try:
        admin.apply([_level(level, shares=0), _schema(level, namespace, name)])
        filler.start()
        until(lambda: _code(account, 0.2) == 429, 15, f"429 for {name}")
        yield
    finally:
        done.set()
        admin.apply(_level(level, shares=100))  # lets the waiting request go
        if filler.ident is not None:
            filler.join(30)
        admin.delete("FlowSchema", level)
        admin.delete("PriorityLevelConfiguration", level)
        until(lambda: _code(account, 0.2) == 200, 15, f"an end of the 429s for {name}")


def _code(account: Api, timeout: float) -> int:
    """How the server answers a harmless request of this user; 0 is: not at all."""
    try:
        account.request("GET", "/version", timeout=timeout)
    except ApiError as exc:
        return exc.code
    except OSError:
        return 0
    return 200


def _level(name: str, *, shares: int) -> Object:
    queuing = {"queues": 1, "handSize": 1, "queueLengthLimit": 1}
    limited = {
        "nominalConcurrencyShares": shares,
        "lendablePercent": 0,
        "borrowingLimitPercent": 0,
        "limitResponse": {"type": "Queue", "queuing": queuing},
    }
    return {
        "apiVersion": _VERSION,
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": name},
        "spec": {"type": "Limited", "limited": limited},
    }


def _schema(level: str, namespace: str, name: str) -> Object:
    everywhere = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"], "namespaces": ["*"], "clusterScope": True}
    rule = {
        "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}}],
        "resourceRules": [everywhere],
        "nonResourceRules": [{"nonResourceURLs": ["*"], "verbs": ["*"]}],
    }
    spec = {
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": 2,  # 1 is that of the schema `exempt`: administrators
        "rules": [rule],
    }
    return {"apiVersion": _VERSION, "kind": "FlowSchema", "metadata": {"name": level}, "spec": spec}
