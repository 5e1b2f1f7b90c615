"""The definitions on a real API server: accepted, established, and never stricter than our parser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from image_updater.api.schema import crds

if TYPE_CHECKING:
    from tests.parts.controlplane import ControlPlane


def test_the_definitions_are_applied_by_kubectl(plane: ControlPlane) -> None:
    plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(crds()))
    plane.kubectl("wait", "--for=condition=Established", "crd", *[each["metadata"]["name"] for each in crds()])
