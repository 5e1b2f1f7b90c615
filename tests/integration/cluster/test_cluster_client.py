"""The client on a real API server: what is done, and what its refusals become."""

from __future__ import annotations

import asyncio
import copy
import secrets
from typing import TYPE_CHECKING, Any

import pytest

from image_updater.cluster import Cluster, ClusterConfig, Ref, transport
from image_updater.cluster.credentials import TokenFile
from image_updater.cluster.errors import (
    ClusterError,
    ClusterUnavailable,
    Conflict,
    Forbidden,
    Gone,
    Immutable,
    InvalidObject,
    KindUnknown,
    NamespaceMissing,
    ObjectNotFound,
    Throttled,
)
from image_updater.errors import AccessDenied, ImageUpdaterError
from tests.integration.cluster.accounts import as_account, connected, grant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.parts.controlplane import ControlPlane

Body = dict[str, Any]


@pytest.fixture
async def cluster(plane: ControlPlane) -> AsyncIterator[Cluster]:
    async with connected(plane.kubeconfig) as opened:
        yield opened


def config_map(namespace: str, name: str = "settings", **data: Any) -> Body:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data or {"a": "1"}}


def pod_template(**labels: str) -> Body:
    return {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}}


def deployment(namespace: str, name: str = "web") -> Body:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": pod_template(app="web")},
    }


def changed(body: Body, path: str, value: Any) -> Body:
    """A copy with another value at `spec.template.…`; None takes the field away."""
    copied = copy.deepcopy(body)
    *parents, last = path.split(".")
    node: Any = copied
    for each in parents:
        node = node[int(each)] if each.isdigit() else node.setdefault(each, {})
    if value is None:
        del node[last]
    else:
        node[last] = value
    return copied


def definition(group: str) -> Body:
    """A CRD of `Widget`, with a schema that does not know everything."""
    properties = {"spec": {"type": "object", "properties": {"size": {"type": "integer", "maximum": 5}}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
                }
            ],
        },
    }


# ---------------------------------------------------------------------------------------------------- objects


async def test_an_object_lives_from_apply_to_delete(cluster: Cluster, namespace: str) -> None:
    maps = await cluster.resource("v1", "ConfigMap")
    made = await cluster.apply(maps, config_map(namespace))
    assert Ref.of(made) == Ref("", "ConfigMap", namespace, "settings")
    assert [each["manager"] for each in made["metadata"]["managedFields"]] == ["image-updater"]
    assert (await cluster.get(maps, "settings", namespace) or {})["data"] == {"a": "1"}

    patched = await cluster.patch(maps, "settings", namespace, {"data": {"b": "2"}})
    assert patched["data"] == {"a": "1", "b": "2"}
    patched = await cluster.patch(maps, "settings", namespace, [{"op": "remove", "path": "/data/b"}], type="json")
    assert patched["data"] == {"a": "1"}
    replaced = await cluster.replace(maps, {**patched, "data": {"c": "3"}})
    assert replaced["data"] == {"c": "3"}
    with pytest.raises(Conflict, match="has been modified"):
        await cluster.replace(maps, {**patched, "data": {"d": "4"}})
    with pytest.raises(Conflict, match="already exists"):
        await cluster.create(maps, config_map(namespace))

    with pytest.raises(Conflict, match="UID in the precondition"):
        await cluster.delete(maps, "settings", namespace, uid="another")
    assert await cluster.delete(maps, "settings", namespace, uid=made["metadata"]["uid"])
    assert not await cluster.delete(maps, "settings", namespace)
    assert await cluster.get(maps, "settings", namespace) is None
    assert await cluster.get(maps, "settings", "no-such-namespace") is None
    with pytest.raises(ObjectNotFound):
        await cluster.patch(maps, "settings", namespace, {})
    with pytest.raises(ObjectNotFound):
        await cluster.replace(maps, config_map(namespace))


async def test_a_field_that_leaves_what_is_applied_leaves_the_object(cluster: Cluster, namespace: str) -> None:
    maps = await cluster.resource("v1", "ConfigMap")
    await cluster.apply(maps, config_map(namespace, a="1", b="2"))
    assert (await cluster.apply(maps, config_map(namespace, a="1")))["data"] == {"a": "1"}


async def test_a_dry_run_says_what_would_be_and_does_nothing(cluster: Cluster, namespace: str) -> None:
    maps = await cluster.resource("v1", "ConfigMap")
    assert (await cluster.apply(maps, config_map(namespace), dry_run=True))["data"] == {"a": "1"}
    assert await cluster.get(maps, "settings", namespace) is None
    await cluster.apply(maps, config_map(namespace))
    assert await cluster.delete(maps, "settings", namespace, dry_run=True)
    assert await cluster.get(maps, "settings", namespace) is not None


async def test_a_conflict_names_who_owns_the_field_and_force_takes_it(cluster: Cluster, namespace: str) -> None:
    deployments = await cluster.resource("apps/v1", "Deployment")
    await cluster.apply(deployments, changed(deployment(namespace), "spec.replicas", 2), manager="somebody")
    wanted = changed(deployment(namespace), "spec.replicas", 3)
    with pytest.raises(Conflict, match=r"somebody owns \.spec\.replicas"):
        await cluster.apply(deployments, wanted, force=False)
    assert (await cluster.apply(deployments, wanted))["spec"]["replicas"] == 3


async def test_status_is_applied_apart(cluster: Cluster, namespace: str) -> None:
    deployments = await cluster.resource("apps/v1", "Deployment")
    made = await cluster.apply(deployments, changed(deployment(namespace), "spec.replicas", 0))
    condition = {"type": "Tested", "status": "True", "reason": "Test", "message": ""}
    status = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "status": {"conditions": [condition]},
    }
    written = await cluster.apply(deployments, status, manager="tests", subresource="status")
    assert "Tested" in [each["type"] for each in written["status"]["conditions"]]
    assert written["metadata"]["generation"] == made["metadata"]["generation"]


async def test_lists_are_whole_of_one_moment_and_named(cluster: Cluster, namespace: str) -> None:
    maps = await cluster.resource("v1", "ConfigMap")
    for number in range(7):
        body = config_map(namespace, f"m{number}")
        body["metadata"]["labels"] = {"odd": str(number % 2)}
        await cluster.apply(maps, body)
    items, version = await cluster.list(maps, namespace, labels="odd=1", chunk=2)
    assert [each["metadata"]["name"] for each in items] == ["m1", "m3", "m5"]
    assert {each["kind"] for each in items} == {"ConfigMap"}
    assert int(version) > 0
    partial, _ = await cluster.list(maps, namespace, fields="metadata.name=m2", metadata_only=True)
    assert [(Ref.of(each).name, "data" in each) for each in partial] == [("m2", False)]
    one = await cluster.get(maps, "m2", namespace, metadata_only=True)
    assert one is not None
    assert Ref.of(one).kind == "ConfigMap"
    assert "data" not in one


async def test_a_list_goes_on_when_its_continue_token_expires(
    plane: ControlPlane, cluster: Cluster, namespace: str
) -> None:
    maps = await cluster.resource("v1", "ConfigMap")
    for number in range(4):
        await cluster.apply(maps, config_map(namespace, f"m{number}"))
    pages = cluster.pages(maps, namespace, chunk=2)
    await anext(pages)
    await asyncio.to_thread(plane.expire_watches)
    with pytest.raises(Gone):
        await anext(pages)
    items, _ = await cluster.list(maps, namespace, chunk=2)
    assert len(items) == 5  # and the CA bundle


# ---------------------------------------------------------------------------------------------------- refusals

CONTAINERS = "spec.template.spec.containers"


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("spec.replicas", "many", "spec.replicas"),
        ("spec.replica", 3, "spec.replica"),
        ("metadata.labels", {"a": 1}, "metadata.labels.a"),
        ("spec.selector", None, None),
        (f"{CONTAINERS}.0.image", "", "spec.template.spec.containers[0].image"),
        (f"{CONTAINERS}.0.imag", "x", 'spec.template.spec.containers[name="c"].imag'),
        (f"{CONTAINERS}", [{"name": "c", "image": "a"}] * 2, "spec.template.spec.containers"),
        (
            f"{CONTAINERS}.0.ports",
            [{"containerPort": 70_000}],
            "spec.template.spec.containers[0].ports[0].containerPort",
        ),
    ],
)
async def test_an_invalid_object_is_refused_by_its_field(
    cluster: Cluster, namespace: str, path: str, value: Any, field: str | None
) -> None:
    deployments = await cluster.resource("apps/v1", "Deployment")
    with pytest.raises(InvalidObject) as caught:
        await cluster.apply(deployments, changed(deployment(namespace), path, value))
    assert type(caught.value) is InvalidObject
    assert caught.value.where.object == f"Deployment.apps {namespace}/web"
    assert caught.value.where.field == field
    assert cluster.metrics.retries == 0


IMMUTABLE: dict[str, tuple[Body, str, Any]] = {
    "Deployment's selector": (
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "spec": {"selector": {"matchLabels": {"a": "1"}}, "template": pod_template(a="1", b="1")},
        },
        "spec.selector.matchLabels",
        {"b": "1"},
    ),
    "StatefulSet's volumes": (
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "spec": {"serviceName": "a", "selector": {"matchLabels": {"a": "1"}}, "template": pod_template(a="1")},
        },
        "spec.podManagementPolicy",
        "Parallel",
    ),
    "Job's template": (
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "spec": {"template": changed(pod_template(), "spec.restartPolicy", "Never")},
        },
        "spec.template.spec.containers",
        [{"name": "c", "image": "web:2"}],
    ),
    "ConfigMap that says so": (
        {"apiVersion": "v1", "kind": "ConfigMap", "immutable": True, "data": {"a": "1"}},
        "data.a",
        "2",
    ),
    "RoleBinding's role": (
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"},
        },
        "roleRef.name",
        "b",
    ),
    "PersistentVolumeClaim's modes": (
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        },
        "spec.accessModes",
        ["ReadWriteMany"],
    ),
    "Service's address": (
        {"apiVersion": "v1", "kind": "Service", "spec": {"clusterIP": "10.96.77.1", "ports": [{"port": 80}]}},
        "spec.clusterIP",
        "10.96.77.2",
    ),
    "Secret's type": ({"apiVersion": "v1", "kind": "Secret", "type": "one"}, "type", "two"),
}


@pytest.mark.parametrize("name", IMMUTABLE)
async def test_what_cannot_be_changed_is_immutable(cluster: Cluster, namespace: str, name: str) -> None:
    body, path, value = IMMUTABLE[name]
    body = {**body, "metadata": {"name": "it", "namespace": namespace}}
    resource = await cluster.resource(body["apiVersion"], body["kind"])
    await cluster.apply(resource, body)
    with pytest.raises(Immutable) as caught:
        await cluster.apply(resource, changed(body, path, value))
    assert caught.value.where.field
    assert len(str(caught.value)) < 500


async def test_an_unknown_field_of_a_custom_resource_is_refused(
    plane: ControlPlane, cluster: Cluster, namespace: str
) -> None:
    group = f"t{secrets.token_hex(4)}.example.com"
    await asyncio.to_thread(plane.apply, definition(group))
    widgets = await cluster.resource(f"{group}/v1", "Widget")
    body: Body = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": namespace}}
    for spec, field in (({"sise": 1}, "spec.sise"), ({"size": 9}, "spec.size"), ({"size": "x"}, "spec.size")):
        with pytest.raises(InvalidObject) as caught:
            await cluster.apply(widgets, {**body, "spec": spec})
        assert (caught.value.where.field or "").lstrip(".") == field, caught.value
    await cluster.apply(widgets, {**body, "spec": {"size": 5}})
    await asyncio.to_thread(plane.delete, "CustomResourceDefinition", f"widgets.{group}")


@pytest.mark.parametrize(
    "change",
    [
        {"stringData": {"pin": 987_654}},
        {"data": {"pin": "987654!"}},
        {"data": ["987654"]},
        {"stringData": {".dockerconfigjson": "987654"}, "type": "kubernetes.io/dockerconfigjson"},
        {"stringData": {"987654 987654": "x"}},
        {"metadata": {"labels": {"a": "987654 !"}}},
    ],
)
async def test_what_a_secret_holds_is_in_no_error(cluster: Cluster, namespace: str, change: Body) -> None:
    resource = await cluster.resource("v1", "Secret")
    body = {"apiVersion": "v1", "kind": "Secret", **change}
    body["metadata"] = {"name": "login", "namespace": namespace, **change.get("metadata", {})}
    with pytest.raises(InvalidObject) as caught:
        await cluster.apply(resource, body)
    if "987654 987654" not in str(change):  # a key is a name
        assert "987654" not in f"{caught.value} {caught.value!r} {caught.value.where}"


async def test_namespaces_that_are_missing_or_going_are_named(
    plane: ControlPlane, cluster: Cluster, namespace: str
) -> None:
    maps = await cluster.resource("v1", "ConfigMap")
    with pytest.raises(NamespaceMissing, match="namespace no-such-one does not exist"):
        await cluster.apply(maps, config_map("no-such-one"))
    going = config_map(namespace, "held")
    going["metadata"]["finalizers"] = ["example.com/test"]
    await cluster.apply(maps, going)
    await cluster.delete(await cluster.resource("v1", "Namespace"), namespace)
    with pytest.raises(NamespaceMissing, match="is being deleted"):
        await cluster.apply(maps, config_map(namespace))
    await cluster.patch(maps, "held", namespace, {"metadata": {"finalizers": None}})


async def test_a_quota_is_no_matter_of_rights(cluster: Cluster, namespace: str) -> None:
    quotas = await cluster.resource("v1", "ResourceQuota")
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": namespace}}
    await cluster.apply(quotas, {**quota, "spec": {"hard": {"count/configmaps": "1"}}})
    maps = await cluster.resource("v1", "ConfigMap")
    error: ImageUpdaterError | None = None
    async with asyncio.timeout(30):
        for number in range(10_000):
            try:
                await cluster.apply(maps, config_map(namespace, f"m{number}"))
            except ClusterError as exc:
                error = exc
                break
            await asyncio.sleep(0.05)
    assert type(error) is ClusterError
    assert "exceeded quota" in str(error)


async def test_pod_security_is_no_matter_of_rights_either(cluster: Cluster, namespace: str) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    await cluster.patch(await cluster.resource("v1", "Namespace"), namespace, None, {"metadata": {"labels": labels}})
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace}}
    with pytest.raises(InvalidObject, match="violates PodSecurity"):
        await cluster.apply(await cluster.resource("v1", "Pod"), {**pod, "spec": pod_template()["spec"]})


# ---------------------------------------------------------------------------------------------------- discovery


async def test_kinds_are_asked_for_once(plane: ControlPlane, namespace: str) -> None:
    agent = f"tests-{secrets.token_hex(4)}"
    mark = await asyncio.to_thread(plane.mark)
    async with connected(plane.kubeconfig, user_agent=agent) as cluster:
        for _ in range(5):
            for version, kind in (("v1", "ConfigMap"), ("apps/v1", "Deployment"), ("v1", "Namespace")):
                await cluster.resource(version, kind)
            assert (await cluster.serving("autoscaling", "HorizontalPodAutoscaler")).version == "v2"
        for _ in range(5):
            with pytest.raises(KindUnknown):
                await cluster.resource("example.com/v1", "Nothing")
    asked = [each.uri for each in await asyncio.to_thread(plane.audit, mark) if each.user_agent == agent]
    assert asked == ["/api", "/apis"]


async def test_a_kind_that_comes_and_goes_is_noticed(plane: ControlPlane, cluster: Cluster, namespace: str) -> None:
    group = f"t{secrets.token_hex(4)}.example.com"
    with pytest.raises(KindUnknown):
        await cluster.resource(f"{group}/v1", "Widget")
    await asyncio.to_thread(plane.apply, definition(group))
    cluster.forget_discovery()
    widgets = await cluster.resource(f"{group}/v1", "Widget")
    assert (widgets.plural, widgets.namespaced) == ("widgets", True)
    assert await cluster.list(widgets)
    await asyncio.to_thread(plane.delete, "CustomResourceDefinition", f"widgets.{group}")

    async def gone() -> bool:
        try:
            await cluster.get(widgets, "w", namespace)
        except KindUnknown:
            return True
        return False

    async with asyncio.timeout(30):
        while not await gone():
            await asyncio.sleep(0.1)
    for act in (cluster.list(widgets), cluster.delete(widgets, "w", namespace)):
        with pytest.raises(KindUnknown):
            await act
    async with asyncio.timeout(30):
        while True:
            try:
                await cluster.resource(f"{group}/v1", "Widget")
            except KindUnknown:
                break
            await asyncio.sleep(0.1)


# ---------------------------------------------------------------------------------------------------- accounts


async def test_an_impersonated_account_has_its_own_rights_only(
    plane: ControlPlane, cluster: Cluster, namespace: str
) -> None:
    user = f"system:serviceaccount:{namespace}:default"
    account = cluster.impersonating(user)
    maps = await account.resource("v1", "ConfigMap")
    secret = await account.resource("v1", "Secret")
    with pytest.raises(Forbidden) as caught:
        await account.apply(maps, config_map(namespace))
    assert f'User "{user}" cannot patch resource "configmaps"' in str(caught.value)
    assert f"allow patch on configmaps in namespace {namespace}" in str(caught.value)
    assert not await account.may("patch", maps, namespace)

    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "patch"]}]
    await asyncio.to_thread(grant, plane, namespace, rules)
    async with asyncio.timeout(30):
        while not await account.may("patch", maps, namespace):
            await asyncio.sleep(0.05)
    await account.apply(maps, config_map(namespace))
    assert await cluster.may("patch", maps, namespace, user=user)
    assert not await cluster.may("get", secret, namespace, user=user)
    for act in (account.list(maps, namespace), account.get(secret, "x", namespace), account.list(maps)):
        with pytest.raises(Forbidden):
            await act
    with pytest.raises(Forbidden):
        await account.apply(maps, config_map("default"))


async def test_who_may_not_impersonate_hears_it(plane: ControlPlane, namespace: str) -> None:
    async with as_account(plane, namespace) as account:
        maps = await account.resource("v1", "ConfigMap")
        with pytest.raises(Forbidden, match="allow impersonate on system:serviceaccount:default:default"):
            await account.impersonating("system:serviceaccount:default:default").get(maps, "x", namespace)


async def test_a_token_that_expired_is_read_from_its_file_again(
    plane: ControlPlane, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("expired")
    admin = ClusterConfig.load(kubeconfig=plane.kubeconfig, environment={})
    credentials = TokenFile(file, monotonic=lambda: 0.0)
    account = await Cluster.connect(ClusterConfig(server=admin.server, ca=admin.ca, credentials=credentials))
    try:
        maps = await cluster.resource("v1", "ConfigMap")
        with pytest.raises(AccessDenied, match="does not accept the credentials"):
            await account.get(maps, "x", namespace)
        file.write_text(plane.token_of(namespace, "default"))
        with pytest.raises(Forbidden):  # known by now
            await account.get(maps, "x", namespace)
        file.write_text("expired again")
        with pytest.raises(Forbidden):  # the one that is known still works
            await account.get(maps, "x", namespace)
    finally:
        await account.close()


async def test_a_server_that_nobody_vouches_for_gets_no_token(plane: ControlPlane, cluster: Cluster) -> None:
    stranger = await Cluster.connect(ClusterConfig(server=plane.url))
    try:
        with pytest.raises(ClusterUnavailable, match="its certificate is not accepted"):
            await stranger.resource("v1", "ConfigMap")
        assert stranger.metrics.retries == 0
    finally:
        await stranger.close()


async def test_a_session_for_another_library_is_logged_in(plane: ControlPlane, cluster: Cluster) -> None:
    async with cluster.open_session() as session, session.get(f"{cluster.server}/api/v1/namespaces/default") as answer:
        assert (await answer.json())["metadata"]["name"] == "default"


# ---------------------------------------------------------------------------------------------------- faults


async def test_a_server_that_is_restarted_is_used_again(plane: ControlPlane, cluster: Cluster, namespace: str) -> None:
    maps = await cluster.resource("v1", "ConfigMap")
    await cluster.apply(maps, config_map(namespace))
    await asyncio.to_thread(plane.kill_apiserver)
    try:
        with pytest.raises(ClusterUnavailable, match="no connection"):
            await cluster.apply(maps, config_map(namespace, b="2"))
        assert cluster.metrics.requests["apply", "error"] >= 4
    finally:
        await asyncio.to_thread(plane.start_apiserver)
    assert (await cluster.apply(maps, config_map(namespace, b="2")))["data"] == {"b": "2"}


async def test_a_restart_that_is_short_is_not_even_noticed(
    plane: ControlPlane, cluster: Cluster, namespace: str
) -> None:
    """Requests that may be sent twice go on: here with more patience than a request has by itself."""
    maps = await cluster.resource("v1", "ConfigMap")

    async def write() -> None:
        for number in range(40):
            async with asyncio.timeout(60):
                while True:
                    try:
                        await cluster.apply(maps, config_map(namespace, n=str(number)))
                    except ClusterUnavailable:
                        continue
                    break
            await asyncio.sleep(0.02)

    writing = asyncio.create_task(write())
    await asyncio.sleep(0.1)
    await asyncio.to_thread(plane.kill_apiserver)
    await asyncio.to_thread(plane.start_apiserver)
    await writing
    assert (await cluster.get(maps, "settings", namespace) or {})["data"] == {"n": "39"}
    assert cluster.metrics.retries > 0


async def test_a_server_that_does_not_answer_is_given_up(
    plane: ControlPlane, cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = await cluster.resource("v1", "ConfigMap")
    monkeypatch.setattr(transport, "TOTAL", 0.5)
    monkeypatch.setattr(transport, "PATIENCE", 1.0)
    await asyncio.to_thread(plane.pause_apiserver)
    try:
        with pytest.raises(ClusterUnavailable, match="no complete answer in time"):
            await cluster.get(maps, "settings", namespace)
    finally:
        await asyncio.to_thread(plane.resume_apiserver)
    monkeypatch.undo()
    assert await cluster.get(maps, "settings", namespace) is None


async def test_a_throttled_account_waits_as_long_as_it_is_told_and_no_longer(
    plane: ControlPlane, namespace: str
) -> None:
    async with as_account(plane, namespace) as account:
        maps = await account.resource("v1", "ConfigMap")
        throttled = plane.throttled(namespace, "default")
        await asyncio.to_thread(throttled.__enter__)
        try:
            with pytest.raises(Throttled) as caught:
                await account.get(maps, "x", namespace)
            assert caught.value.until is not None
            assert account.metrics.throttled > 1
        finally:
            await asyncio.to_thread(throttled.__exit__, None, None, None)
        with pytest.raises(Forbidden):
            await account.get(maps, "x", namespace)
