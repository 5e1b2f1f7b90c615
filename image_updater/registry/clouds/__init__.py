"""Logins of the big clouds' registries with the identity of where we run, by plain HTTP: no SDK, and only when
`spec.provider` asks.

Endpoints come from the environment variables that the clouds' own tools read, so that tests (and private networks) can
name others.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import assert_never

from image_updater.api.model import Provider
from image_updater.registry.clouds import aws, azure, gcp
from image_updater.registry.clouds.answers import Fetch
from image_updater.registry.dockerconfig import Credentials

__all__ = ["Fetch", "login"]


async def login(
    provider: Provider, host: str, environment: Mapping[str, str], fetch: Fetch, *, now: datetime
) -> tuple[Credentials | None, datetime | None]:
    """Credentials for a registry host and when they end; (None, None) for a host that is not this cloud's.

    Raises AuthenticationFailed where no identity is to be had or the cloud refuses it, RegistryUnavailable where it is
    down.
    """
    match provider:
        case Provider.AWS:
            return await aws.login(host, environment, fetch, now=now)
        case Provider.AZURE:
            return await azure.login(host, environment, fetch, now=now)
        case Provider.GCP:
            return await gcp.login(host, environment, fetch, now=now)
        case Provider.GENERIC:
            return None, None
        case _:
            assert_never(provider)
