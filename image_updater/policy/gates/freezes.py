"""Freezes: nothing is written for the policies that they name, from one moment to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.policy.gates.blocked import Blocked, GateName, clock, utc

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from image_updater.api.model import Freeze, ImagePolicy


def applies(freeze: Freeze, policy: ImagePolicy) -> bool:
    """Is this policy one of those that it stops? By namespace and labels; its times are judged by `standing`."""
    if freeze.cluster:
        if freeze.namespaces and policy.key.namespace not in freeze.namespaces:
            return False
    elif freeze.key.namespace != policy.key.namespace:
        return False
    labels = policy.meta.labels
    return freeze.policies.matches(labels) and not (freeze.exceptions is not None and freeze.exceptions.matches(labels))


def standing(freezes: Iterable[Freeze], now: datetime) -> list[Freeze]:
    """Those that stop something now, in a fixed order."""
    return sorted(
        (
            freeze
            for freeze in freezes
            if (freeze.starts is None or utc(freeze.starts) <= now)
            and (freeze.expires is None or utc(freeze.expires) > now)
        ),
        key=lambda freeze: freeze.key,
    )


def beginnings(freezes: Iterable[Freeze], now: datetime) -> list[datetime]:
    """When those begin that do not stop anything yet."""
    return [
        utc(freeze.starts)
        for freeze in freezes
        if freeze.starts is not None
        and utc(freeze.starts) > now
        and (freeze.expires is None or utc(freeze.expires) > utc(freeze.starts))
    ]


def stops(freeze: Freeze, now: datetime) -> Blocked:
    return Blocked(gate=GateName.FREEZE, reason=reason(freeze, now), until=freeze.expires and utc(freeze.expires))


def reason(freeze: Freeze, now: datetime) -> str:
    name = freeze.title or (f"ClusterFreeze {freeze.key.name}" if freeze.cluster else f"Freeze {freeze.key}")
    until = f" until {clock(utc(freeze.expires), now)}" if freeze.expires is not None else " until it is deleted"
    return f"{name} stops it{until}: {freeze.reason}" if freeze.reason else f"{name} stops it{until}"
