"""The control planes of this worker, started when a test asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.parts.controlplane import ControlPlane, control_plane
from tests.parts.loops import Place, Workshop, place, workshop

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Shared by all tests of the worker: each works in a namespace of its own."""
    with control_plane(tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture(scope="session")
def second_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Another cluster, for what acts on more than one."""
    with control_plane(tmp_path_factory.mktemp("second")) as running:
        yield running


@pytest.fixture
def namespace(plane: ControlPlane) -> Iterator[str]:
    """A fresh namespace; its deletion is not waited for. Whatever broke the plane meanwhile is over with the test."""
    name = plane.namespace()
    yield name
    plane.mend()
    plane.delete("Namespace", name)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A registry and a Git server, for the whole loop."""
    with workshop(tmp_path_factory.mktemp("shop")) as servers:
        yield servers


@pytest.fixture
def here(plane: ControlPlane, shop: Workshop) -> Iterator[Place]:
    """A namespace with a repository of its own, in which nothing is yet."""
    with place(plane, shop, {"README.md": "# fleet\n"}) as made:
        yield made
