"""Waiting for health: what ends it, with whose rights, and what it costs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from image_updater.cluster.model import Ref
from image_updater.sync.model import Condition
from tests.parts.syncing import Rig, rigged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from image_updater.sync.model import Health
    from image_updater.sync.syncer import Syncer
    from tests.parts.controlplane import ControlPlane


def deployment(name: str = "web", image: str = "web:1", deadline: int = 600, after: str = "") -> str:
    annotations = f"annotations: {{kwok.test/ready-after: {after}}}, " if after else ""
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: 1
  progressDeadlineSeconds: {deadline}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{{annotations}labels: {{app: {name}}}}}
    spec: {{containers: [{{name: web, image: "{image}"}}]}}
"""


def job(image: str) -> str:
    return f"""
apiVersion: batch/v1
kind: Job
metadata: {{name: migrate}}
spec:
  backoffLimit: 0
  template: {{spec: {{restartPolicy: Never, containers: [{{name: migrate, image: "{image}"}}]}}}}
"""


CONFIG = "\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"
SECRET = "\napiVersion: v1\nkind: Secret\nmetadata: {name: login}\n"


@pytest.fixture
async def rig(plane: ControlPlane, namespace: str) -> AsyncIterator[Rig]:
    async with rigged(plane, namespace) as made:
        yield made


async def wait(
    rig: Rig,
    *more: Ref,
    timeout: float = 60.0,
    preempted: asyncio.Event | None = None,
    syncer: Syncer | None = None,
) -> dict[str, Health]:
    refs = [*(entry.ref for entry in rig.inventories["app"]), *more]
    found = await (syncer or rig.syncer()).wait(
        rig.kustomization(), refs, timeout=timeout, preempted=preempted or asyncio.Event(), foreign=more
    )
    assert [health.ref for health in found] == refs
    return {health.ref.name: health for health in found}


async def test_it_ends_as_soon_as_all_is_current(rig: Rig) -> None:
    await rig.sync("---".join((CONFIG, SECRET, deployment(after="1s"), job("migrate:1"))))
    found = await wait(rig)
    assert {health.condition for health in found.values()} == {Condition.CURRENT}


async def test_what_is_current_already_costs_one_list_a_kind_and_no_watch(rig: Rig) -> None:
    texts = (CONFIG, SECRET, deployment("one"), deployment("two"))
    await rig.sync("---".join(texts))
    await wait(rig)
    mark = rig.plane.mark()
    await wait(rig)
    ours = [each for each in rig.plane.audit(mark) if each.user_agent.startswith("image-updater")]
    assert sorted(f"{each.verb} {each.resource}" for each in ours) == ["get secrets", "list deployments"]


async def test_a_failed_rollout_ends_it_at_once(rig: Rig) -> None:
    await rig.sync("---".join((deployment("good", after="60s"), deployment("bad", "bad:1-crash", deadline=1))))
    found = await wait(rig)
    assert found["bad"].condition is Condition.FAILED
    assert "ProgressDeadlineExceeded" in found["bad"].message or "progress" in found["bad"].message
    assert found["good"].condition is Condition.IN_PROGRESS


async def test_a_failed_job_ends_it_at_once(rig: Rig) -> None:
    await rig.sync("---".join((deployment("good", after="60s"), job("migrate:1-crash"))))
    found = await wait(rig)
    assert found["migrate"].condition is Condition.FAILED


async def test_the_time_is_up(rig: Rig) -> None:
    await rig.sync(deployment(after="600s"))
    found = await wait(rig, timeout=0.5)
    assert found["web"].condition is Condition.IN_PROGRESS


async def test_a_new_commit_ends_it(rig: Rig) -> None:
    await rig.sync(deployment(after="600s"))
    preempted = asyncio.Event()
    waiting = asyncio.create_task(wait(rig, preempted=preempted))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    preempted.set()
    assert (await waiting)["web"].condition is Condition.IN_PROGRESS


async def test_objects_of_others_are_found_by_name_and_may_come_later(rig: Rig) -> None:
    await rig.sync("---".join((deployment("one"), deployment("two"))))
    theirs = Ref("apps", "Deployment", rig.namespace, "theirs")
    waiting = asyncio.create_task(wait(rig, theirs))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    rig.plane.kubectl("-n", rig.namespace, "create", "deployment", "theirs", "--image=web:1")
    assert (await waiting)["theirs"].condition is Condition.CURRENT


async def test_many_objects_without_our_labels_are_found_too(rig: Rig) -> None:
    names = [f"d{number}" for number in range(12)]
    for name in names:
        rig.plane.kubectl("-n", rig.namespace, "create", "deployment", name, "--image=web:1")
    await rig.sync(CONFIG)
    found = await wait(rig, *(Ref("apps", "Deployment", rig.namespace, name) for name in names))
    assert {health.condition for health in found.values()} == {Condition.CURRENT}


async def test_what_is_missing_or_unknown_is_said(rig: Rig) -> None:
    await rig.sync(CONFIG)
    found = await wait(
        rig,
        Ref("", "ConfigMap", rig.namespace, "missing"),
        Ref("nobody.example.com", "Thing", rig.namespace, "unserved"),
        timeout=1.0,
    )
    assert found["settings"].condition is Condition.CURRENT
    assert found["missing"].condition is Condition.NOT_FOUND
    assert found["unserved"].condition is Condition.NOT_FOUND


async def test_an_account_that_may_not_read_is_helped_by_our_own_rights(rig: Rig) -> None:
    await rig.sync("---".join((deployment("one"), deployment("two", after="1s"))))
    rig.plane.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "blind"}}, rig.namespace)
    found = await wait(rig, syncer=rig.syncer("blind"))
    assert {health.condition for health in found.values()} == {Condition.CURRENT}


async def test_a_health_check_tells_no_more_of_others_than_the_account_may_see(rig: Rig) -> None:
    """The controller may read it: whoever may write a Kustomization must not read other namespaces by that."""
    others = rig.plane.namespace()
    rig.plane.apply(yaml.safe_load(deployment("theirs")), others)
    rig.plane.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "blind"}}, rig.namespace)
    await rig.sync(deployment("ours"))
    theirs = Ref("apps", "Deployment", others, "theirs")
    found = await wait(rig, theirs, syncer=rig.syncer("blind"))
    assert found["ours"].condition is Condition.CURRENT
    assert found["theirs"].condition is Condition.UNKNOWN
    assert "its health cannot be read" in found["theirs"].message
    found = await wait(rig, theirs)
    assert found["theirs"].condition is Condition.CURRENT
    rig.plane.delete("Namespace", others)


async def test_what_nobody_may_watch_is_read_again_and_again(rig: Rig) -> None:
    rig.plane.apply(reader(rig.namespace, ["get"]))
    await rig.sync("---".join((deployment("one"), deployment("two", after="1s"))))
    found = await wait(rig, syncer=rig.syncer("reader", watched=False))
    assert {health.condition for health in found.values()} == {Condition.CURRENT}


async def test_what_nobody_may_read_is_not_waited_for(rig: Rig) -> None:
    await rig.sync(deployment())
    found = await wait(rig, syncer=rig.syncer("default", watched=False))
    assert found["web"].condition is Condition.UNKNOWN
    assert "deployments" in found["web"].message


async def test_an_api_server_that_restarts_is_waited_for(rig: Rig) -> None:
    await rig.sync("---".join((deployment("one", after="3s"), deployment("two", after="3s"))))
    waiting = asyncio.create_task(wait(rig))
    await asyncio.sleep(0.3)
    rig.plane.kill_apiserver()
    await asyncio.to_thread(rig.plane.start_apiserver)
    found = await waiting
    assert {health.condition for health in found.values()} == {Condition.CURRENT}


def reader(namespace: str, verbs: list[str]) -> list[dict[str, Any]]:
    meta = {"name": "reader", "namespace": namespace}
    rbac = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": verbs}]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": "reader"}],
        },
    ]
