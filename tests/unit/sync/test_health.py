"""Every row of the health tables."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from image_updater.cluster.model import Ref
from image_updater.sync.health import health
from image_updater.sync.model import Condition, Health

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TABLES = yaml.safe_load((Path(__file__).parent / "health.yaml").read_text())
ROWS = [(kind, row) for table in TABLES for kind in table["kinds"] for row in table["rows"]]


def judged(kind: str, status: Any, *, spec: Any = None, **metadata: Any) -> Health:
    api_version, _, name = kind.partition(" ")
    meta = {"name": "x", "namespace": "apps", "generation": 2, **metadata}
    return health({"apiVersion": api_version, "kind": name, "metadata": meta, "spec": spec, "status": status}, now=NOW)


@pytest.mark.parametrize(("kind", "row"), ROWS, ids=[f"{kind.split()[1]}: {row['when']}" for kind, row in ROWS])
def test_an_object_is_judged_as_the_table_says(kind: str, row: dict[str, Any]) -> None:
    found = judged(kind, row.get("status"), spec=row.get("spec"))
    assert found.condition == row["is"], found.message
    assert row.get("says", "") in found.message


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("notification.toolkit.fluxcd.io/v1beta3 Alert", {}),
        ("notification.toolkit.fluxcd.io/v1beta3 Provider", {}),
        ("source.toolkit.fluxcd.io/v1 HelmRepository", {"type": "oci"}),
    ],
)
def test_kinds_of_flux_that_have_no_status_are_current(kind: str, spec: Any) -> None:
    assert judged(kind, None, spec=spec).condition is Condition.CURRENT


@pytest.mark.parametrize("kind", ["apps/v1 Deployment", "example.org/v1 Thing", "flagger.app/v1beta1 Canary"])
def test_what_is_being_deleted_is_terminating(kind: str) -> None:
    found = judged(kind, {"observedGeneration": 2}, deletionTimestamp="2026-01-01T00:00:00Z")
    assert found.condition is Condition.TERMINATING


def test_what_is_not_there_is_not_found() -> None:
    ref = Ref("apps", "Deployment", "apps", "web")
    assert health(None, now=NOW, ref=ref) == Health(ref=ref, condition=Condition.NOT_FOUND, message="it does not exist")
    with pytest.raises(ValueError, match="needs a name"):
        health(None, now=NOW)


_NAMES = """conditions type status reason replicas phase containerStatuses state waiting observedGeneration
updateStrategy rollingUpdate partition analysis interval loadBalancer ingress suspend""".split()  # noqa: SIM905
_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.floats(allow_nan=False),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), children, max_size=4),
    max_leaves=12,
)
_KINDS = st.sampled_from([*(kind for table in TABLES for kind in table["kinds"]), "flagger.app/v1beta1 Canary"])


@given(_KINDS, _JUNK, _JUNK)
def test_no_status_however_odd_is_an_error(kind: str, spec: Any, status: Any) -> None:
    assert isinstance(judged(kind, status, spec=spec).message, str)
