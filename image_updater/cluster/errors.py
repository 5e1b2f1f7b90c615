"""What an API server answers when it does not do what was asked.

Transient
└── ClusterError             any other failure of a request                          ApiServerFailed
    ├── ClusterUnavailable   no connection, a time-out, or an answer 5xx             ApiServerUnavailable
    ├── Throttled            429: come back at `until`                               ApiServerThrottled
    ├── Conflict             somebody else changed the object, or owns the field     Conflict
    ├── Gone                 410: this resourceVersion is too old                    ResourceVersionExpired
    ├── NamespaceMissing     its namespace does not exist yet, or is being deleted   NamespaceNotFound
    └── KindUnknown          no server serves this kind yet (its CRD is missing)     KindUnknown
Terminal
├── Forbidden                the account may not do that                             Forbidden
├── ObjectNotFound           there is no such object                                 ObjectNotFound
└── InvalidObject            the server refuses the object as it is written          InvalidObject
    └── Immutable            a field of it cannot be changed                         ImmutableField
"""

from __future__ import annotations

from image_updater.errors import AccessDenied, Terminal, Transient


class ClusterError(Transient):
    reason = "ApiServerFailed"


class ClusterUnavailable(ClusterError):
    reason = "ApiServerUnavailable"


class Throttled(ClusterError):
    reason = "ApiServerThrottled"


class Conflict(ClusterError):
    reason = "Conflict"


class Gone(ClusterError):
    reason = "ResourceVersionExpired"


class NamespaceMissing(ClusterError):
    reason = "NamespaceNotFound"


class KindUnknown(ClusterError):
    reason = "KindUnknown"


class Forbidden(AccessDenied):
    reason = "Forbidden"


class ObjectNotFound(Terminal):
    reason = "ObjectNotFound"


class InvalidObject(Terminal):
    reason = "InvalidObject"


class Immutable(InvalidObject):
    reason = "ImmutableField"
