"""A Git server for the tests of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.parts import gitservers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[gitservers.HttpServer]:
    with gitservers.http_server(tmp_path_factory.mktemp("git")) as running:
        yield running
