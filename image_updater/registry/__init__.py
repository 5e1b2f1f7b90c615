"""OCI registries: complete tag lists, digests and image facts, under each host's own budget and whoever's login.

`RegistryClient` asks; `access_for` says who asks. Lists are all pages or an error, equal lists cost no parsing,
credentials never leave the hosts that they are for.
"""

from image_updater.registry.access import Access, Proxies, access_for, anonymous
from image_updater.registry.budgets import Budgets, Limits
from image_updater.registry.client import RegistryClient
from image_updater.registry.errors import (
    AuthenticationFailed,
    InvalidAnswer,
    ListIncomplete,
    NotARegistry,
    PermissionDenied,
    RateLimited,
    RegistryUnavailable,
    RepositoryNotFound,
    TagNotFound,
    UnsupportedManifest,
)
from image_updater.registry.http import Metrics
from image_updater.registry.lists import TagList
from image_updater.registry.manifests import Descriptor, ImageFacts

__all__ = [
    "Access",
    "AuthenticationFailed",
    "Budgets",
    "Descriptor",
    "ImageFacts",
    "InvalidAnswer",
    "Limits",
    "ListIncomplete",
    "Metrics",
    "NotARegistry",
    "PermissionDenied",
    "Proxies",
    "RateLimited",
    "RegistryClient",
    "RegistryUnavailable",
    "RepositoryNotFound",
    "TagList",
    "TagNotFound",
    "UnsupportedManifest",
    "access_for",
    "anonymous",
]
