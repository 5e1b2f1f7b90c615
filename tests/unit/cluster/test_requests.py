"""What is sent, what is tried again and what is not, against a server that answers as written down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from aiohttp import web

from image_updater.cluster import Cluster, ClusterConfig, Lease, transport
from image_updater.cluster.credentials import Login
from image_updater.cluster.errors import ClusterError, ClusterUnavailable, Gone, InvalidObject, Throttled
from image_updater.cluster.lines import MAX_LINE
from image_updater.errors import AccessDenied, ImageUpdaterError
from tests.unit.cluster.conftest import DEPLOYMENTS, SECRETS, answer, status

if TYPE_CHECKING:
    from tests.unit.cluster.conftest import Connect, FakeTime, Server

BODY = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "apps"}}
WEB = "/apis/apps/v1/namespaces/apps/deployments/web"


async def cut(request: web.Request) -> web.StreamResponse:
    """The connection ends without an answer."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def truncated(request: web.Request) -> web.StreamResponse:
    """Half of an answer."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"kind":')
    assert request.transport is not None
    request.transport.close()
    return response


# ---------------------------------------------------------------------------------------------------- what is sent


async def test_apply_sends_json_as_an_apply_patch(cluster: Cluster, server: Server) -> None:
    server.will(answer(200, BODY))
    await cluster.apply(DEPLOYMENTS, BODY, dry_run=True)
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.body) == ("PATCH", WEB, BODY)
    assert seen.query == {
        "fieldManager": "image-updater",
        "force": "true",
        "fieldValidation": "Strict",
        "dryRun": "All",
    }
    assert seen.headers["Content-Type"] == "application/apply-patch+yaml"
    assert seen.headers["Authorization"] == "Bearer hunter2"
    assert seen.headers["User-Agent"].startswith("image-updater/")
    assert "Impersonate-User" not in seen.headers


async def test_apply_without_force_on_status_as_another_manager(cluster: Cluster, server: Server) -> None:
    server.will(answer(200, BODY))
    await cluster.apply(DEPLOYMENTS, BODY, manager="m", force=False, strict=False, subresource="status")
    assert server.seen[0].path == f"{WEB}/status"
    assert server.seen[0].query == {"fieldManager": "m", "force": "false", "fieldValidation": "Ignore"}


async def test_another_account_is_impersonated_and_shares_all_else(cluster: Cluster, server: Server) -> None:
    server.will(answer(200, BODY))
    other = cluster.impersonating("system:serviceaccount:apps:deployer")
    await other.get(DEPLOYMENTS, "web", "apps")
    assert server.seen[0].headers["Impersonate-User"] == "system:serviceaccount:apps:deployer"
    assert other.identity != cluster.identity
    assert other.metrics is cluster.metrics
    assert other.impersonating(None).identity == cluster.identity


async def test_partial_objects_carry_the_kind_of_their_resource(cluster: Cluster, server: Server) -> None:
    partial = {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "web"}}
    server.will(answer(200, partial))
    body = await cluster.get(DEPLOYMENTS, "web", "apps", metadata_only=True)
    assert body is not None
    assert (body["apiVersion"], body["kind"]) == ("apps/v1", "Deployment")
    assert "as=PartialObjectMetadata;" in server.seen[0].headers["Accept"]


async def test_a_delete_names_the_very_object(cluster: Cluster, server: Server) -> None:
    server.will(answer(200, {"kind": "Status"}))
    assert await cluster.delete(DEPLOYMENTS, "web", "apps", uid="u", resource_version="7", propagation="Orphan")
    assert server.seen[0].body["preconditions"] == {"uid": "u", "resourceVersion": "7"}
    assert server.seen[0].body["propagationPolicy"] == "Orphan"
    assert "dryRun" not in server.seen[0].body


async def test_a_list_is_read_page_by_page(cluster: Cluster, server: Server) -> None:
    first = {"metadata": {"resourceVersion": "5", "continue": "c"}, "items": [{"metadata": {"name": "a"}}]}
    second = {"metadata": {"resourceVersion": "5"}, "items": [{"metadata": {"name": "b"}}]}
    server.will(answer(200, first), answer(200, second))
    items, version = await cluster.list(DEPLOYMENTS, "apps", labels="a=b", fields="metadata.name=x", chunk=1)
    assert ([each["metadata"]["name"] for each in items], version) == (["a", "b"], "5")
    assert {each["kind"] for each in items} == {"Deployment"}
    assert server.seen[0].query == {"labelSelector": "a=b", "fieldSelector": "metadata.name=x", "limit": "1"}
    assert server.seen[1].query["continue"] == "c"


async def test_a_list_that_expires_between_two_pages_begins_anew(cluster: Cluster, server: Server) -> None:
    first = answer(200, {"metadata": {"resourceVersion": "5", "continue": "c"}, "items": [{"metadata": {"name": "a"}}]})
    again = answer(200, {"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "b"}}]})
    server.will(first, status(410, "The provided continue parameter is too old"), again)
    items, version = await cluster.list(DEPLOYMENTS)
    assert ([each["metadata"]["name"] for each in items], version) == (["b"], "9")


async def test_a_list_that_always_expires_is_an_error(cluster: Cluster, server: Server) -> None:
    server.will(status(410, "too old"))
    with pytest.raises(Gone):
        await cluster.list(DEPLOYMENTS)
    assert len(server.seen) == 3


async def test_pages_that_are_too_large_are_asked_for_in_smaller_pieces(
    cluster: Cluster, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_BODY", 1_000)
    server.will(
        answer(200, {"items": [{"metadata": {"name": "x" * 2_000}}]}),
        answer(200, {"metadata": {"resourceVersion": "5"}, "items": []}),
    )
    assert await cluster.list(DEPLOYMENTS, chunk=500) == ([], "5")
    assert [each.query["limit"] for each in server.seen] == ["500", "62"]


async def test_one_object_that_is_too_large_is_an_error(
    cluster: Cluster, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_BODY", 1_000)
    server.will(answer(200, {"metadata": {"name": "x" * 2_000}}))
    with pytest.raises(ClusterError, match="larger than 1,000 bytes"):
        await cluster.get(DEPLOYMENTS, "web", "apps")


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../../secrets/x", "a%2Fb", ""])
async def test_no_name_leads_to_another_path(cluster: Cluster, server: Server, name: str) -> None:
    with pytest.raises(InvalidObject):
        await cluster.get(DEPLOYMENTS, name, "apps")
    with pytest.raises(InvalidObject):
        await cluster.apply(DEPLOYMENTS, {"metadata": {"name": name or "..", "namespace": name or ".."}})
    assert server.seen == []


async def test_names_of_rbac_are_sent_as_they_are(cluster: Cluster, server: Server) -> None:
    server.will(answer(200, BODY))
    await cluster.get(DEPLOYMENTS, "system:controller?x #é", None)
    assert server.seen[0].path.endswith("/system:controller?x #é")


async def test_access_is_asked_for_with_the_groups_that_the_server_would_give(cluster: Cluster, server: Server) -> None:
    server.will(answer(201, {"status": {"allowed": True}}), answer(201, {"status": {}}))
    assert await cluster.may("get", SECRETS, "apps", "x", user="system:serviceaccount:apps:d")
    assert not await cluster.may("get", SECRETS, "apps")
    first, second = server.seen
    assert first.path == "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    assert first.body["spec"]["groups"] == [
        "system:authenticated",
        "system:serviceaccounts",
        "system:serviceaccounts:apps",
    ]
    assert first.body["spec"]["resourceAttributes"] == {
        "verb": "get",
        "version": "v1",
        "resource": "secrets",
        "namespace": "apps",
        "name": "x",
    }
    assert second.path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


# ---------------------------------------------------------------------------------------------------- what comes again

Act: TypeAlias = "Callable[[Cluster], Awaitable[Any]]"

REPEATED: dict[str, Act] = {
    "get": lambda cluster: cluster.get(DEPLOYMENTS, "web", "apps"),
    "list": lambda cluster: cluster.list(DEPLOYMENTS),
    "apply": lambda cluster: cluster.apply(DEPLOYMENTS, BODY),
    "merge-patch": lambda cluster: cluster.patch(DEPLOYMENTS, "web", "apps", {"spec": {}}),
    "delete": lambda cluster: cluster.delete(DEPLOYMENTS, "web", "apps"),
    "may": lambda cluster: cluster.may("get", DEPLOYMENTS),
}
NOT_REPEATED: dict[str, Act] = {
    "json-patch": lambda cluster: cluster.patch(DEPLOYMENTS, "web", "apps", [], type="json"),
    "create": lambda cluster: cluster.create(DEPLOYMENTS, BODY),
    "replace": lambda cluster: cluster.replace(DEPLOYMENTS, BODY),
}


@pytest.mark.parametrize("fault", [status(500, "x"), status(503, "x"), status(504, "x"), cut, truncated])
@pytest.mark.parametrize("act", [pytest.param(act, id=name) for name, act in REPEATED.items()])
async def test_what_may_be_sent_twice_outlasts_a_fault(
    connect: Connect, server: Server, act: Act, fault: Any, time: FakeTime
) -> None:
    cluster = await connect()
    server.will(fault, fault, answer(200, {"metadata": {"resourceVersion": "1"}}))
    await act(cluster)
    # aiohttp itself sends a request of an idempotent method anew when its kept connection was closed meanwhile.
    assert len(server.seen) >= 2
    assert cluster.metrics.retries == len(time.slept) >= 1


# A `replace` that is cut is sent anew by aiohttp: its resourceVersion makes sure that it is done once.
@pytest.mark.parametrize("fault", [status(500, "x"), status(503, "x"), cut])
@pytest.mark.parametrize("act", [pytest.param(act, id=name) for name, act in NOT_REPEATED.items() if name != "replace"])
async def test_what_may_have_been_done_is_not_sent_twice(
    connect: Connect, server: Server, act: Act, fault: Any
) -> None:
    cluster = await connect()
    server.will(fault)
    with pytest.raises(ClusterUnavailable):
        await act(cluster)
    assert len(server.seen) == 1


@pytest.mark.parametrize("act", [pytest.param(act, id=name) for name, act in (REPEATED | NOT_REPEATED).items()])
async def test_a_429_did_nothing_and_is_sent_again_when_the_server_says(
    connect: Connect, server: Server, act: Act, time: FakeTime
) -> None:
    cluster = await connect()
    server.will(answer(429, {"kind": "Status", "message": "later"}, Retry_After="3"), answer(200, BODY))
    await act(cluster)
    assert time.slept == [3.125]
    assert cluster.metrics.throttled == 1


async def test_a_429_that_asks_for_long_is_raised_with_its_time(
    cluster: Cluster, server: Server, time: FakeTime
) -> None:
    server.will(answer(429, {"kind": "Status", "message": "later"}, Retry_After="60"))
    with pytest.raises(Throttled) as caught:
        await cluster.get(DEPLOYMENTS, "web", "apps")
    assert caught.value.until == time.now() + timedelta(seconds=60)
    assert time.slept == []


async def test_trying_ends(cluster: Cluster, server: Server, time: FakeTime) -> None:
    server.will(status(503, "still not"))
    with pytest.raises(ClusterUnavailable, match="still not"):
        await cluster.apply(DEPLOYMENTS, BODY)
    assert len(server.seen) == 4
    assert sum(time.slept) < 10


async def test_what_the_server_cannot_decode_is_not_sent_again(cluster: Cluster, server: Server) -> None:
    server.will(status(500, "failed to create typed patch object (a/b; v1, Kind=X): .x: field not declared in schema"))
    with pytest.raises(InvalidObject):
        await cluster.apply(DEPLOYMENTS, BODY)
    assert len(server.seen) == 1


async def test_without_a_server_every_request_is_tried_and_says_so(connect: Connect, time: FakeTime) -> None:
    cluster = await connect(url="http://127.0.0.1:9")
    with pytest.raises(ClusterUnavailable, match=r"127\.0\.0\.1:9: no connection"):
        await cluster.create(DEPLOYMENTS, BODY)
    assert len(time.slept) == 3
    assert cluster.metrics.requests["create", "error"] == 4


async def test_a_page_of_a_proxy_is_no_answer(cluster: Cluster, server: Server) -> None:
    server.will(answer(200, b"<html>please log in</html>"))
    with pytest.raises(ClusterError, match="is this an API server"):
        await cluster.get(DEPLOYMENTS, "web", "apps")


async def test_redirects_are_not_followed_with_credentials(cluster: Cluster, server: Server) -> None:
    server.will(answer(302, {}, Location="http://127.0.0.1:9/elsewhere"))
    with pytest.raises(ClusterError):
        await cluster.get(DEPLOYMENTS, "web", "apps")
    assert len(server.seen) == 1


# ---------------------------------------------------------------------------------------------------- logins


class Rotating:
    """Gives another token once the first was refused."""

    def __init__(self) -> None:
        self.renewed: list[bool] = []

    async def login(self, *, renew: bool = False) -> Login:
        self.renewed.append(renew)
        return Login.bearer("second" if any(self.renewed) else "first")


async def test_an_expired_token_is_renewed_once(connect: Connect, server: Server) -> None:
    credentials = Rotating()
    cluster = await connect(credentials)
    server.will(status(401, "Unauthorized"), status(503, "x"), answer(200, BODY))
    await cluster.apply(DEPLOYMENTS, BODY)
    assert [each.headers["Authorization"] for each in server.seen] == ["Bearer first", "Bearer second", "Bearer second"]
    assert credentials.renewed == [False, False, True, False]


async def test_a_token_that_is_refused_twice_is_wrong(connect: Connect, server: Server) -> None:
    cluster = await connect(Rotating())
    server.will(status(401, "Unauthorized"))
    with pytest.raises(AccessDenied, match="does not accept the credentials"):
        await cluster.get(DEPLOYMENTS, "web", "apps")
    assert len(server.seen) == 2


async def test_a_watch_renews_an_expired_token_too(connect: Connect, server: Server) -> None:
    cluster = await connect(Rotating())
    server.will(status(401, "Unauthorized"), answer(200, b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}\n'))
    found = [each async for each in cluster.watch(DEPLOYMENTS, resource_version="1")]
    assert [each.body["metadata"]["name"] for each in found] == ["a"]
    server.will(status(401, "Unauthorized"))
    with pytest.raises(AccessDenied):
        _ = [each async for each in cluster.watch(DEPLOYMENTS, resource_version="1")]


@pytest.mark.parametrize(
    "fault",
    [status(401, "no"), status(403, "no"), status(409, "no"), status(500, "no"), cut, truncated, answer(200, b"no")],
)
async def test_the_token_is_in_no_error(cluster: Cluster, server: Server, fault: Any) -> None:
    server.will(fault)
    for act in (*REPEATED.values(), *NOT_REPEATED.values()):
        with pytest.raises(ImageUpdaterError) as caught:
            await act(cluster)
        error: BaseException | None = caught.value
        while error is not None:
            assert "hunter2" not in f"{error} {error!r} {getattr(error, 'where', '')}"
            assert error.__suppress_context__ or error.__context__ is None
            error = error.__cause__


# ---------------------------------------------------------------------------------------------------- watches


async def test_a_watch_ends_with_the_error_that_the_server_sends_in_it(cluster: Cluster, server: Server) -> None:
    lines = (
        b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"2"}}}\n'
        b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"3"}}}\n'
        b'{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old resource version: 1 (9)"}}\n'
    )
    server.will(answer(200, lines))
    events = cluster.watch(DEPLOYMENTS, resource_version="1", timeout=7)
    found = [await anext(events)]
    with pytest.raises(Gone, match="too old resource version"):
        await anext(events)
    assert [each.happened for each in found] == ["ADDED"]
    assert found[0].body["kind"] == "Deployment"
    assert server.seen[0].query == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "1",
        "timeoutSeconds": "7",
    }


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (status(410, "gone"), Gone),
        (status(503, "x"), ClusterUnavailable),
        (cut, ClusterUnavailable),
        (truncated, ClusterUnavailable),
        (answer(200, b"<html>\n"), ClusterError),
        (answer(200, b'{"type":1}\n'), ClusterError),
        (answer(200, b"x" * (MAX_LINE + 1)), ClusterError),
    ],
)
async def test_a_watch_is_not_tried_again_here(
    cluster: Cluster, server: Server, response: Any, error: type[ImageUpdaterError], time: FakeTime
) -> None:
    server.will(response)
    with pytest.raises(error):
        _ = [each async for each in cluster.watch(DEPLOYMENTS, resource_version="1")]
    assert time.slept == []


async def test_an_unread_watch_can_be_left(cluster: Cluster, server: Server) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}\n')
                await asyncio.sleep(0)
        return response

    server.will(endless)
    async with contextlib.aclosing(cluster.watch(DEPLOYMENTS, resource_version="1")) as events:  # type: ignore[type-var]
        async for event in events:
            assert event.body["metadata"]["name"] == "a"
            break


async def test_requests_are_limited_and_watches_are_not_counted(connect: Connect, server: Server) -> None:
    cluster = await connect()
    running = most = 0

    async def slow(_: web.Request) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        return web.json_response(BODY)

    server.will(slow)
    await asyncio.gather(*(cluster.get(DEPLOYMENTS, "web", "apps") for _ in range(100)))
    assert most <= 32


async def test_a_lease_does_not_wait_behind_a_thousand_others(connect: Connect, server: Server) -> None:
    cluster = await connect()
    go = asyncio.Event()

    async def stuck(_: web.Request) -> web.StreamResponse:
        await go.wait()
        return web.json_response(BODY)

    async def at_once(request: web.Request) -> web.StreamResponse:
        return await (stuck(request) if request.path == WEB else answer(404, {"kind": "Status"})(request))

    server.will(at_once)
    others = [asyncio.create_task(cluster.get(DEPLOYMENTS, "web", "apps")) for _ in range(100)]
    while len(server.seen) < 32:
        await asyncio.sleep(0)
    with pytest.raises(ImageUpdaterError):
        await Lease(cluster, namespace="n", name="l", holder="h").take()
    assert not any(each.done() for each in others)
    go.set()
    await asyncio.gather(*others)


async def test_a_proxy_is_used_and_its_password_never_shown(server: Server, time: FakeTime) -> None:
    proxy = server.url.replace("http://", "http://u:hunter2@")
    config = ClusterConfig(server="http://api.internal:6443", proxy=proxy)
    cluster = await Cluster.connect(config, sleep=time.sleep)
    server.will(answer(200, BODY))
    assert await cluster.get(DEPLOYMENTS, "web", "apps")
    assert server.seen[0].headers["Host"] == "api.internal:6443"
    assert server.seen[0].headers["Proxy-Authorization"] == "Basic dTpodW50ZXIy"
    server.will(cut)
    with pytest.raises(ClusterUnavailable) as caught:
        await cluster.get(DEPLOYMENTS, "web", "apps")
    assert "hunter2" not in f"{caught.value!r} {caught.value}"
    await cluster.close()
    gone = await Cluster.connect(ClusterConfig(server="https://api.internal", proxy="http://u:hunter2@127.0.0.1:9"))
    with pytest.raises(ClusterUnavailable, match="the proxy refuses or cannot be reached") as caught:
        _ = [each async for each in gone.watch(DEPLOYMENTS, resource_version="1")]
    assert "hunter2" not in f"{caught.value!r} {caught.value}"
    await gone.close()


async def test_another_library_logs_in_as_we_do(connect: Connect, server: Server) -> None:
    cluster = await connect(Rotating())
    server.will(answer(200, BODY))
    async with cluster.open_session() as session, session.get(f"{cluster.server}/version") as response:
        assert response.status == 200
    assert server.seen[0].headers["Authorization"] == "Bearer first"


# ------------------------------------------------------------------------------------------------- a fence


async def test_who_may_not_write_now_sends_no_write_and_may_read(connect: Connect, server: Server) -> None:
    def shut() -> None:
        raise AccessDenied("not ours")

    server.will(answer(200, BODY))
    fenced = (await connect()).fenced(shut).impersonating("system:serviceaccount:apps:deployer").unqueued()
    for act in (REPEATED | NOT_REPEATED).values():
        server.seen.clear()
        with contextlib.suppress(AccessDenied):
            await act(fenced)
        assert {seen.method for seen in server.seen} <= {"GET"}
    await fenced.get(DEPLOYMENTS, "web", "apps")
    assert len(server.seen) == 1


async def test_a_fence_is_asked_again_before_each_try(connect: Connect, server: Server, time: FakeTime) -> None:
    """A process that sleeps between two tries may wake as somebody else."""
    asked: list[int] = []

    def closing() -> None:
        asked.append(len(server.seen))
        if len(asked) > 1:
            raise AccessDenied("not ours any more")

    server.will(status(503, "x"), answer(200, BODY))
    with pytest.raises(AccessDenied):
        await (await connect()).fenced(closing).apply(DEPLOYMENTS, BODY)
    assert len(server.seen) == 1
