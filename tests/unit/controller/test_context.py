"""What the halves share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from image_updater.controller.context import lease_namespace
from image_updater.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("flag", "variable", "file", "where"),
    [
        ("leases", "pods", "accounts", "leases"),
        (None, "pods", "accounts", "pods"),
        (None, "", "accounts\n", "accounts"),
        (None, "", None, "default"),
    ],
    ids=["as it was said", "the pod's", "the account's", "outside of a cluster"],
)
def test_leases_are_in_the_namespace_of_the_pod(
    tmp_path: Path, flag: str | None, variable: str, file: str | None, where: str
) -> None:
    namespace = tmp_path / "namespace"
    if file is not None:
        namespace.write_text(file)
    environment = {"POD_NAMESPACE": variable} if variable else {}
    assert lease_namespace(Settings(lease_namespace=flag), environment, namespace) == where
