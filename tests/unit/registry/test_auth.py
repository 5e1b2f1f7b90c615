"""facts/registries.md, "auth": each line."""

from __future__ import annotations

import base64
import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from image_updater.api.model import ImagePolicy, Meta, ObjectKey, Secret, SemverPolicy
from image_updater.embedded import Auth, EmbeddedRegistry, Faults, Reply
from image_updater.images import ImageName, parse_name
from image_updater.registry import (
    Access,
    AuthenticationFailed,
    InvalidAnswer,
    NotARegistry,
    PermissionDenied,
    RegistryClient,
    RegistryUnavailable,
    RepositoryNotFound,
    access_for,
    anonymous,
)
from image_updater.registry.challenges import Challenge, parse, scope_for
from image_updater.registry.http import Answer
from image_updater.registry.realms import trusted
from image_updater.registry.tokens import Ask, Tokens, read
from tests.parts.registries import Authority

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.unit.registry.conftest import FakeTime

USER, PASSWORD = "robot", "s3cret:with-colon"


def login(*hosts: str, user: str = USER, password: str = PASSWORD, **entry: str) -> Access:
    """The access of a policy whose Secret has one and the same login for some hosts."""
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    config = {"auths": {host: entry or {"auth": auth} for host in hosts}}
    key = ObjectKey("default", "pull")
    secret = Secret(meta=Meta(key=key), data={".dockerconfigjson": json.dumps(config).encode()})
    policy = ImagePolicy(
        meta=Meta(key=ObjectKey("default", "app")),
        image=f"{hosts[0]}/acme/app",
        strategy=SemverPolicy(range="*"),
        secret_ref="pull",
        insecure=True,
    )
    return access_for(policy, {key: secret}.get, {})


# ------------------------------------------------------------------------------------------ challenges


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param(
            [
                (
                    'Bearer realm="https://auth.example.com/token",service="registry.example.com",other=fun,'
                    r'slashed="he\"\l\lo"'
                )
            ],
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.example.com/token",
                        "service": "registry.example.com",
                        "other": "fun",
                        "slashed": 'he"llo',
                    },
                )
            ],
            id="quoted pairs and a bare value",
        ),
        pytest.param(
            ['Bearer realm="https://r.example/v2/token",scope=""'],
            [("bearer", {"realm": "https://r.example/v2/token", "scope": ""})],
            id="empty scope is legal",
        ),
        pytest.param(
            ['Basic realm="https://r.example/v2"'], [("basic", {"realm": "https://r.example/v2"})], id="basic"
        ),
        pytest.param(
            [
                (
                    'Negotiate,Bearer realm="https://r.example/v2/token",service="container_registry",scope="*",'
                    'Basic realm="https://r.example/v2"'
                )
            ],
            [
                ("negotiate", {}),
                ("bearer", {"realm": "https://r.example/v2/token", "service": "container_registry", "scope": "*"}),
                ("basic", {"realm": "https://r.example/v2"}),
            ],
            id="three challenges in one header",
        ),
        pytest.param(
            ["Negotiate", 'Bearer realm="https://r.example/v2/token"', 'Basic realm="https://r.example/v2"'],
            [
                ("negotiate", {}),
                ("bearer", {"realm": "https://r.example/v2/token"}),
                ("basic", {"realm": "https://r.example/v2"}),
            ],
            id="three headers",
        ),
        pytest.param(
            ["Negotiate YII=, Basic realm=x"],
            [("negotiate", {"token68": "YII="}), ("basic", {"realm": "x"})],
            id="token68",
        ),
        pytest.param(
            ['BEARER Realm = "a b" , Service = s'], [("bearer", {"realm": "a b", "service": "s"})], id="case and spaces"
        ),
        pytest.param(
            ["Bearer realm=https://r.example/token,service=s"],
            [("bearer", {"realm": "https://r.example/token", "service": "s"})],
            id="a URL without quotes",
        ),
        pytest.param([""], [], id="empty"),
        pytest.param([", ,"], [], id="commas only"),
    ],
)
def test_challenges_are_read(headers: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse(headers) == tuple(Challenge(scheme, params) for scheme, params in expected)


@pytest.mark.parametrize(
    "header",
    ['Bearer realm="https://r.example/v2/token",service="x', 'Bearer "x"'],
    ids=["unterminated quote", "no name"],
)
def test_a_broken_challenge_is_a_clear_error(header: str) -> None:
    with pytest.raises(InvalidAnswer, match="WWW-Authenticate"):
        parse([header])


@pytest.mark.parametrize(
    ("host", "repository", "offered", "scope"),
    [
        ("ghcr.io", "acme/app", "repository:user/image:pull", "repository:acme/app:pull"),
        ("registry-1.docker.io", "library/nginx", None, "repository:library/nginx:pull"),
        ("x.azurecr.io", "acme/app", None, "repository:acme/app:pull,metadata_read,content_read"),
        ("r.example", "acme/app", "*", "repository:acme/app:pull"),
        ("r.example", "acme/app", "", "repository:acme/app:pull"),
        ("r.example", "acme/app", "repository:virtual/acme/app:pull", "repository:virtual/acme/app:pull"),
        ("r.example", "acme/app", "repository:acme/app:pull,push", "repository:acme/app:pull"),
        ("r.example", "acme/app", "repository:other/secret:pull", "repository:acme/app:pull"),
        ("r.example", "acme/app", "repository:acme/app:pull registry:catalog:*", "repository:acme/app:pull"),
    ],
    ids=[
        "placeholder",
        "docker hub",
        "azure",
        "star",
        "empty",
        "prefixed",
        "push is not asked for",
        "another's",
        "more than one",
    ],
)
def test_the_scope_is_our_own_repositorys(host: str, repository: str, offered: str | None, scope: str) -> None:
    assert scope_for(host, repository, offered) == scope


@pytest.mark.parametrize(
    ("registry", "realm", "expected"),
    [
        ("registry-1.docker.io", "auth.docker.io", True),
        ("ghcr.io", "ghcr.io", True),
        ("ghcr.io", "auth.ghcr.io", True),
        ("ghcr.io", "evil.io", False),
        ("registry.gitlab.com", "gitlab.com", True),
        ("registry.example.com", "auth.example.com", True),
        ("registry.example.com", "keep.example.com", True),
        ("registry.example.com", "evil.example.net", False),
        ("registry.example.com", "example.com.evil.net", False),
        ("registry.example.com", "evilexample.com", False),
        ("example.co.uk", "evil.co.uk", False),
        ("registry.example.co.uk", "auth.example.co.uk", True),
        ("mine.azurecr.io", "theirs.azurecr.io", False),
        ("1.dkr.ecr.eu-west-1.amazonaws.com", "evil.eu-west-1.amazonaws.com", False),
        ("acme.jfrog.io", "evil.jfrog.io", False),
        ("europe-docker.pkg.dev", "evil.pkg.dev", False),
        ("registry.default.svc.cluster.local", "evil.default.svc.cluster.local", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("10.0.0.1", "x.10.0.0.1", False),
        ("registry", "auth", False),
        ("registry", "registry", True),
        ("localhost", "evil.localhost", False),
        ("REGISTRY.example.com.", "registry.example.com", True),
    ],
)
def test_credentials_go_only_to_realms_of_the_same_owner(registry: str, realm: str, expected: bool) -> None:
    assert trusted(registry, realm) is expected


# ------------------------------------------------------------------------------------------ token bodies


ASK = Ask("me", "https://auth.example.com/token", "s", "repository:acme/app:pull")
NOW = datetime(2020, 1, 1, tzinfo=UTC)


def answer(body: object, status: int = 200) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, httpx.Headers(), data, "https://auth.example.com/token")


@pytest.mark.parametrize(
    ("body", "token", "seconds"),
    [
        ({"token": "t"}, "t", 60),
        ({"access_token": "a"}, "a", 60),
        ({"access_token": "a", "token": "t"}, "a", 60),
        ({"token": "t", "expires_in": 3001}, "t", 3001),
        ({"token": "t", "expires_in": 3001, "issued_at": "2020-01-01T00:01:00Z"}, "t", 3061),
        ({"token": "t", "expires_in": 3001, "issued_at": "yesterday"}, "t", 3001),
        ({"token": "t", "expires_in": 5}, "t", 60),
        ({"token": "t", "expires_in": None}, "t", 60),
        ({"token": "t", "expires_in": "300"}, "t", 60),
        ({"token": "t", "expires_in": 1e300}, "t", 30 * 24 * 3600),
        ({"token": "t", "issued_at": "9999-12-31T23:59:59Z"}, "t", 3660),
    ],
    ids=["token alone", "access_token alone", "access_token wins", "expires_in", "issued_at", "issued_at unreadable",
         "under 60 is 60", "expires_in: null", "expires_in is text", "absurd", "a clock gone wrong"],
)  # fmt: skip
def test_token_bodies_are_read(body: object, token: str, seconds: float) -> None:
    found = read(answer(body), ASK, NOW)
    assert found.value == token
    assert found.expires_at == NOW + timedelta(seconds=seconds)


def test_a_token_is_never_printed() -> None:
    assert "hidden" not in repr(read(answer({"token": "hidden", "refresh_token": "hidden"}), ASK, NOW))


@pytest.mark.parametrize("body", [{}, {"token": ""}, {"token": None}, [], {"token": "a\r\nX: y"}], ids=str)
def test_no_token_is_an_auth_error(body: object) -> None:
    with pytest.raises(AuthenticationFailed, match="without a token"):
        read(answer(body), ASK, NOW)


async def test_a_token_is_kept_until_it_ends_and_asked_for_once(fake_time: FakeTime) -> None:
    asked: list[str] = []

    async def fetch(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        asked.append(url)
        return answer({"token": f"t{len(asked)}", "expires_in": 3001})

    tokens = Tokens(fake_time.now)
    assert [(await tokens.get(ASK, None, fetch))[0].value for _ in range(2)] == ["t1", "t1"]
    fake_time.passed = 3000.9
    assert (await tokens.get(ASK, None, fetch))[0].value == "t1"
    fake_time.passed = 3001
    assert (await tokens.get(ASK, None, fetch))[0].value == "t2"
    assert asked[0] == "https://auth.example.com/token?service=s&scope=repository%3Aacme%2Fapp%3Apull"


async def test_a_refresh_token_that_is_not_replaced_is_used_again(fake_time: FakeTime) -> None:
    methods: list[str] = []

    async def fetch(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        methods.append(method)
        return answer({"token": "t", "refresh_token": "r"} if method == "GET" else {"access_token": "t"})

    tokens = Tokens(fake_time.now)
    for _ in range(3):
        await tokens.get(ASK, None, fetch)
        fake_time.passed += 61
    assert methods == ["GET", "POST", "POST"]


async def test_without_service_none_is_sent(fake_time: FakeTime) -> None:
    async def fetch(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        assert "service" not in url
        return answer({"token": "t"})

    await Tokens(fake_time.now).get(Ask("me", "https://a.example/token?x=1", None, "s"), None, fetch)


# ------------------------------------------------------------------------------------------ against a registry


@pytest.fixture
def auth(registry: EmbeddedRegistry) -> Auth:
    auth = Auth(users={USER: PASSWORD})
    registry.faults.auth = auth
    registry.tag_many("acme/app", [f"1.0.{number}" for number in range(10)])
    return auth


@pytest.fixture
def robot(registry: EmbeddedRegistry) -> Access:
    return login(registry.host)


async def test_no_auth_needed_means_none_is_sent_and_nothing_is_probed(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, robot: Access
) -> None:
    registry.push("acme/app", "1.0.0")
    await client.tags(image, robot)
    assert [(seen.method, seen.auth) for seen in registry.seen] == [("GET", "")]
    assert registry.requests["GET base"] == 0


async def test_bearer_is_learned_from_the_401_and_costs_one_request_afterwards(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName, robot: Access
) -> None:
    await client.tags(image, robot)
    assert [seen.auth for seen in registry.seen] == ["", "basic", "bearer"]
    assert (auth.scopes, auth.services, auth.grants) == (["repository:acme/app:pull"], ["embedded"], [f"basic:{USER}"])
    await client.tags(image, robot)
    assert registry.requests.total() == 4


async def test_anonymous_people_get_a_token_without_basic_auth(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    await client.tags(image, nobody)
    assert auth.grants == ["anonymous"]


@pytest.mark.parametrize(
    ("challenge", "service"),
    [
        (['Bearer realm="{realm}"'], None),
        (['Bearer realm="{realm}",service="s",scope="repository:user/image:pull"'], "s"),
        (['Negotiate,Bearer realm="{realm}",service="s",scope="*",Basic realm="x"'], "s"),
        (["Negotiate", 'Basic realm="x"', 'Bearer realm="{realm}",service="s"'], "s"),
    ],
    ids=["Bearer without service", "placeholder scope", "three in one header", "three headers"],
)
async def test_bearer_is_chosen_with_our_own_scope(
    registry: EmbeddedRegistry,
    auth: Auth,
    client: RegistryClient,
    image: ImageName,
    robot: Access,
    challenge: list[str],
    service: str | None,
) -> None:
    auth.challenge = challenge
    await client.tags(image, robot)
    assert (auth.scopes, auth.services) == (["repository:acme/app:pull"], [service])


@pytest.mark.parametrize(
    "realm",
    ["https://r.example/v2", "Artifactory Realm", "https://123456789.dkr.ecr.eu-central-1.amazonaws.com/"],
    ids=["a URL", "no URL", "ECR"],
)
async def test_basic_credentials_are_sent_on_each_request_whatever_the_realm(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName, robot: Access, realm: str
) -> None:
    auth.scheme = "basic"
    auth.challenge = [f'Basic realm="{realm}",service="ecr.amazonaws.com"']
    await client.tags(image, robot)
    await client.head(image, "1.0.1", robot)
    assert [seen.auth for seen in registry.seen] == ["", "basic", "basic"]


@pytest.mark.parametrize("challenge", [[], [""], ["Negotiate"], ['Bearer realm="not a url"']], ids=str)
async def test_a_401_without_a_usable_challenge_is_an_auth_error_without_token_request(
    registry: EmbeddedRegistry,
    auth: Auth,
    client: RegistryClient,
    image: ImageName,
    robot: Access,
    challenge: list[str],
) -> None:
    auth.challenge = challenge
    with pytest.raises(AuthenticationFailed, match="authentication required"):
        await client.tags(image, robot)
    assert registry.requests.total() == 1


async def test_an_unterminated_quote_is_an_auth_error(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName, robot: Access
) -> None:
    auth.challenge = ['Bearer realm="{realm}",service="x']
    with pytest.raises(AuthenticationFailed, match="a quote is not closed"):
        await client.tags(image, robot)


async def test_a_foreign_realm_over_plain_http_is_no_realm_at_all(
    registry: EmbeddedRegistry,
    elsewhere: EmbeddedRegistry,
    auth: Auth,
    client: RegistryClient,
    image: ImageName,
    robot: Access,
) -> None:
    auth.realm = f"{elsewhere.url}/token"
    with pytest.raises(AuthenticationFailed):
        await client.tags(image, robot)
    assert not elsewhere.seen


@pytest.mark.parametrize(
    ("hosts", "grant"),
    [
        (("registry",), "anonymous"),
        (("registry", "realm"), f"basic:{USER}"),
        (("realm",), "anonymous"),
    ],
    ids=["a stranger", "named by the user", "of a registry that the user does not know"],
)
async def test_a_foreign_realm_gets_credentials_only_if_the_user_named_it(
    registry: EmbeddedRegistry,
    auth: Auth,
    client: RegistryClient,
    image: ImageName,
    tmp_path: Path,
    hosts: tuple[str, ...],
    grant: str,
) -> None:
    """A token goes to the registry: one that nobody knows must not be given what another's credentials open."""
    authority = Authority()
    foreign = Auth(users={USER: PASSWORD})
    context = authority.server_context(tmp_path, "127.0.0.2")
    async with EmbeddedRegistry(address="127.0.0.2", tls=context, faults=Faults(auth=foreign)) as realm:
        auth.realm = f"{realm.url}/token"
        auth._tokens = foreign._tokens
        access = login(*({"registry": registry.host, "realm": realm.host}[host] for host in hosts))
        await client.tags(image, dataclasses.replace(access, ca=authority.certificate))
    assert foreign.grants == [grant]


async def test_of_two_realms_the_registrys_own_gets_the_credentials(
    registry: EmbeddedRegistry,
    elsewhere: EmbeddedRegistry,
    auth: Auth,
    client: RegistryClient,
    image: ImageName,
    robot: Access,
) -> None:
    auth.challenge = [
        'Bearer realm="https://evil.example.net/token",service="drop"',
        'Bearer realm="{realm}",service="keep"',
    ]
    await client.tags(image, robot)
    assert auth.services == ["keep"]


async def test_a_token_that_ends_in_mid_list_is_renewed_and_the_list_goes_on_from_that_page(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName, robot: Access
) -> None:
    registry.faults.page_size = 4
    auth.uses = 1
    assert len((await client.tags(image, robot)).tags) == 10
    pages = [seen.target.partition("last=")[2] for seen in registry.seen if "tags/list" in seen.target]
    assert pages == ["", "", "1.0.3", "1.0.3", "1.0.7", "1.0.7"]


async def test_a_second_401_on_the_page_fails_the_whole_listing(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName, robot: Access
) -> None:
    registry.faults.page_size = 4
    registry.faults.always(
        "last=1.0.3", Reply(status=401, headers=[("WWW-Authenticate", f'Bearer realm="{registry.url}/token"')])
    )
    with pytest.raises(AuthenticationFailed):
        await client.tags(image, robot)
    assert len([seen for seen in registry.seen if "last=1.0.3" in seen.target]) == 2


async def test_credentials_that_were_kept_are_dropped_and_fetched_once_more(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName, robot: Access
) -> None:
    await client.tags(image, robot)
    auth.revoke()
    await client.tags(image, robot)
    assert len(auth.grants) == 2


async def test_the_next_token_comes_by_refresh_token(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName, robot: Access, fake_time: FakeTime
) -> None:
    auth.refresh_tokens = True
    for _ in range(3):
        await client.tags(image, robot)
        fake_time.passed += 301
    assert auth.grants == [f"basic:{USER}", "refresh_token", "refresh_token"]


async def test_a_refused_refresh_token_falls_back_to_the_credentials(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName, robot: Access, fake_time: FakeTime
) -> None:
    auth.refresh_tokens = True
    await client.tags(image, robot)
    auth._refresh.clear()
    fake_time.passed += 301
    await client.tags(image, robot)
    assert auth.grants == [f"basic:{USER}", "refresh_token", f"basic:{USER}"]


async def test_an_identity_token_is_an_oauth_refresh_token(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName
) -> None:
    auth.allow_refresh("identity")
    await client.tags(image, login(registry.host, identitytoken="identity"))
    assert auth.grants == ["refresh_token"]


async def test_a_token_server_without_a_token_is_an_auth_error(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName, robot: Access
) -> None:
    auth.token_body = {}
    with pytest.raises(AuthenticationFailed, match="without a token"):
        await client.tags(image, robot)


async def test_a_token_without_lifetime_is_used_for_a_minute(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName, robot: Access, fake_time: FakeTime
) -> None:
    auth.expires_in = None
    for passed in (0, 59, 60):
        fake_time.passed = passed
        await client.tags(image, robot)
    assert len(auth.grants) == 2


async def test_wrong_credentials_are_an_auth_error_in_the_servers_words_without_the_password(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName
) -> None:
    wrong = login(registry.host, password="not-the-password")
    with pytest.raises(AuthenticationFailed, match="incorrect username or password") as caught:
        await client.tags(image, wrong)
    assert "not-the-password" not in f"{caught.value!r} {caught.value} {wrong!r} {wrong.config!r}"


async def test_a_server_that_echoes_the_password_does_not_get_it_into_the_error(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName
) -> None:
    auth.scheme = "basic"
    auth.error_body = json.dumps({"errors": [{"message": "bad login robot with not-the-password"}]}).encode()
    with pytest.raises(AuthenticationFailed) as caught:
        await client.tags(image, login(registry.host, password="not-the-password"))
    assert "bad login" in str(caught.value)
    assert "not-the-password" not in str(caught.value)


async def test_a_broken_token_server_is_no_auth_error(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName, robot: Access
) -> None:
    registry.faults.always("GET /token", Reply(status=502))
    with pytest.raises(RegistryUnavailable):
        await client.tags(image, robot)


async def test_a_token_server_that_limits_us_is_waited_for(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName, robot: Access, fake_time: FakeTime
) -> None:
    registry.faults.script("GET /token", Reply(status=429, headers=[("Retry-After", "7")]))
    await client.tags(image, robot)
    assert fake_time.slept == [7.0]


async def test_no_registry_at_that_path_is_a_distinct_error(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.faults.api_base = 404
    registry.faults.always("GET /v2/.+", Reply(status=404, body="<html>", content_type="text/html"))
    with pytest.raises(NotARegistry, match="/v2/"):
        await client.tags(image, nobody)


async def test_a_one_part_name_is_tried_under_library_and_remembered(
    registry: EmbeddedRegistry, client: RegistryClient, nobody: Access
) -> None:
    registry.push("library/node", "20.0.0")
    image = parse_name(f"{registry.host}/node")
    assert (await client.tags(image, nobody)).tags == ("20.0.0",)
    assert await client.head(image, "20.0.0", nobody)
    assert [seen.target.partition("?")[0] for seen in registry.seen] == [
        "/v2/node/tags/list",
        "/v2/library/node/tags/list",
        "/v2/library/node/manifests/20.0.0",
    ]


async def test_a_one_part_name_that_is_nowhere_keeps_the_first_error(
    registry: EmbeddedRegistry, client: RegistryClient, nobody: Access
) -> None:
    with pytest.raises(RepositoryNotFound, match="/node"):
        await client.tags(parse_name(f"{registry.host}/node"), nobody)


async def test_a_blob_redirect_carries_no_credentials_and_its_signature_is_never_shown(
    registry: EmbeddedRegistry,
    elsewhere: EmbeddedRegistry,
    auth: Auth,
    client: RegistryClient,
    image: ImageName,
    robot: Access,
) -> None:
    registry.push("acme/app", "2.0.0", content="same")
    registry.faults.blob_redirect = f"{elsewhere.url}/storage"
    config = next(data for data in registry.contents.blobs.values() if b"rootfs" in data and b"created" in data)
    found = next(d for d, data in registry.contents.blobs.items() if data == config)
    elsewhere.faults.script("GET /storage", Reply(status=403, body="<Error>denied ?sig=abc</Error>"))
    with pytest.raises(RegistryUnavailable, match=r"127\.0\.0\.2.*403") as caught:
        await client.describe(image, "2.0.0", robot)
    assert "sig" not in str(caught.value)
    assert [seen.auth for seen in elsewhere.seen] == [""]
    for digest, data in registry.contents.blobs.items():
        elsewhere.faults.always(f"GET /storage/{digest}", Reply(body=data))
    assert (await client.describe(image, "2.0.0", robot)).created is not None
    assert {seen.auth for seen in elsewhere.seen} == {""}
    assert all("sig=" in seen.target for seen in elsewhere.seen)
    assert found


async def test_redirects_in_a_circle_end(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access
) -> None:
    registry.faults.always("tags/list", Reply(status=302, headers=[("Location", "/v2/acme/app/tags/list?n=1")]))
    with pytest.raises(InvalidAnswer, match="redirects"):
        await client.tags(image, nobody)
    assert registry.requests["GET tags"] == 6


@pytest.mark.parametrize(
    "location", ["", "file:///etc/passwd", "ftp://x/y", "https://u:p@x/y"], ids=["none", "file", "ftp", "credentials"]
)
async def test_a_redirect_that_leads_nowhere_is_an_error(
    registry: EmbeddedRegistry, client: RegistryClient, image: ImageName, nobody: Access, location: str
) -> None:
    registry.faults.always("tags/list", Reply(status=302, headers=[("Location", location)]))
    with pytest.raises(InvalidAnswer, match="leads nowhere"):
        await client.tags(image, nobody)


async def test_an_ecr_token_that_expired_is_renewed_though_the_answer_is_403(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName, robot: Access
) -> None:
    await client.tags(image, robot)
    body = (
        '{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate and try again."}]}'
    )
    registry.faults.script("tags/list", Reply(status=403, body=body))
    assert len((await client.tags(image, robot)).tags) == 10


async def test_a_403_is_a_permission_error_in_the_servers_words(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName, robot: Access
) -> None:
    await client.tags(image, robot)
    body = '{"details":"requesting higher privileges than access token allows"}'
    registry.faults.script("tags/list", Reply(status=403, body=body))
    with pytest.raises(PermissionDenied, match="requesting higher privileges"):
        await client.tags(image, robot)


async def test_a_redirect_from_https_to_plain_http_is_not_followed(
    elsewhere: EmbeddedRegistry, client: RegistryClient, tmp_path: Path
) -> None:
    authority = Authority()
    async with EmbeddedRegistry(tls=authority.server_context(tmp_path)) as secure:
        secure.faults.always("tags/list", Reply(status=302, headers=[("Location", f"{elsewhere.url}/v2/x/tags/list")]))
        with pytest.raises(InvalidAnswer, match="from https to plain http"):
            await client.tags(parse_name(f"{secure.host}/acme/app"), anonymous(ca=authority.certificate))
        await client.aclose()
    assert not elsewhere.seen


async def test_a_client_certificate_is_not_shown_to_the_host_of_a_redirect(
    client: RegistryClient, tmp_path: Path
) -> None:
    authority = Authority()
    pair = authority.issue("client", client=True)
    access = dataclasses.replace(anonymous(ca=authority.certificate), certificate=pair.certificate, key=pair.key)
    own = authority.server_context(tmp_path, clients=True)
    other = authority.server_context(tmp_path, "127.0.0.2", clients=True)
    async with (
        EmbeddedRegistry(tls=own) as registry,
        EmbeddedRegistry(address="127.0.0.2", tls=other) as foreign,
    ):
        registry.push("acme/app", "1.0.0")
        image = parse_name(f"{registry.host}/acme/app")
        assert (await client.tags(image, access)).tags == ("1.0.0",)
        registry.faults.blob_redirect = f"{foreign.url}/storage"
        with pytest.raises(RegistryUnavailable):
            await client.describe(image, "1.0.0", access)
        assert not foreign.seen
        await client.aclose()


async def test_a_token_is_not_made_before_a_long_wait(
    registry: EmbeddedRegistry, auth: Auth, client: RegistryClient, image: ImageName, robot: Access, fake_time: FakeTime
) -> None:
    auth.expires_in = 60
    await client.tags(image, robot)
    fake_time.passed = 50
    registry.faults.script("tags/list", Reply(status=429, headers=[("Retry-After", "42")]))
    await client.tags(image, robot)
    assert len(auth.grants) == 2
