"""Jobs that the cluster deletes when they have finished: once each, however often it is looked at."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.parts.controllers import controller
from tests.parts.controlplane import until
from tests.parts.loops import Place, Workshop, config, kustomize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.parts.controllers import Replica
    from tests.parts.controlplane import ControlPlane


@pytest.fixture(scope="module")
def replica(plane: ControlPlane, shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    with controller(plane, tmp_path_factory.mktemp("controller"), environment=shop.environment) as running:
        running.await_leading()
        yield running


def job(image: str) -> str:
    template = {
        "metadata": {"annotations": {"kwok.test/complete-after": "1s"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": image}]},
    }
    spec = {"ttlSecondsAfterFinished": 0, "template": template}
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate"}, "spec": spec})


def handled(here: Place) -> str | None:
    found: str | None = here.status("Kustomization", "apps").get("lastHandledReconcileAt")
    return found


def test_a_job_with_a_time_to_live_runs_once(here: Place, replica: Replica) -> None:
    here.commit(
        {
            "apps/job.yaml": job("example.com/migrate:1"),
            "apps/a.yaml": config("a", x="1"),
            "apps/kustomization.yaml": kustomize("job.yaml", "a.yaml"),
        }
    )
    mark = here.plane.mark()
    here.apply(here.source(), here.kustomization(wait=True, timeout="20s", interval="1s"))
    here.await_applied()

    def runs() -> int:
        asked = replica.account.requests(mark)
        return sum((each.verb, each.resource, each.code) == ("patch", "jobs", 201) for each in asked)

    until(lambda: runs() == 1 and not here.has("Job", "migrate"), 30, "it has run and is gone")
    for number in ("1", "2", "3"):
        here.annotate("Kustomization", "apps", requestedAt=number)
        until(lambda number=number: handled(here) == number, 30, "one more look")
        here.await_applied()
    assert runs() == 1
    # Another Job of that name is another Job.
    here.commit({"apps/job.yaml": job("example.com/migrate:2")})
    here.await_applied()
    until(lambda: runs() == 2 and not here.has("Job", "migrate"), 30, "the new one has run")
