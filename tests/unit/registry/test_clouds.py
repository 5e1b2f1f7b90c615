"""The clouds' logins, against loopback fakes that the clouds' own environment variables name."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from image_updater.api.model import ImagePolicy, Meta, ObjectKey, Provider, SemverPolicy
from image_updater.embedded import Auth, EmbeddedRegistry, Reply
from image_updater.images import parse_name
from image_updater.registry import AuthenticationFailed, InvalidAnswer, Proxies, RegistryUnavailable, access_for
from image_updater.registry.clouds import login
from image_updater.registry.clouds.answers import Fetch
from image_updater.registry.clouds.sigv4 import Keys, sign
from image_updater.registry.http import Answer, Http, Wire

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp.web_request import BaseRequest

    from tests.unit.registry.conftest import FakeTime, MakeClient

NOW = datetime(2020, 1, 1, tzinfo=UTC)
ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
LATER = "2020-01-01T12:00:00Z"


@dataclass
class Asked:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(self.body.decode()).items()}


@dataclass
class Cloud:
    """Answers by path, and what was asked."""

    url: str = ""
    answers: dict[str, tuple[int, object]] = field(default_factory=dict)
    asked: deque[Asked] = field(default_factory=deque)

    async def serve(self, request: BaseRequest) -> web.Response:
        body = await request.content.read()
        self.asked.append(Asked(request.method, request.raw_path, request.headers.copy(), body))
        status, answer = self.answers.get(request.path, (404, {"error": "nothing here"}))
        text = answer if isinstance(answer, str) else json.dumps(answer)
        return web.Response(status=status, text=text)


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    cloud = Cloud()
    runner = web.ServerRunner(web.Server(cloud.serve, access_log=None), shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    cloud.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield cloud
    await runner.cleanup()


@pytest.fixture
async def fetch(cloud: Cloud, fake_time: FakeTime) -> AsyncIterator[Fetch]:
    async with Http(monotonic=fake_time.monotonic, per_host=4) as http:

        async def fetch(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
            if not url.startswith(cloud.url):
                # Azure's exchange has no variable of its own: it is always at the registry.
                assert url.startswith(("https://x.azurecr.io/", "http://169.254.169.254/", "http://169.254.170.2/")), (
                    url
                )
                if url.startswith("http://169.254.169.254/"):
                    raise RegistryUnavailable("no such service here")
                url = cloud.url + "/" + url.split("/", 3)[3]
            return await http.exchange(method, url, headers, wire=Wire(), timeout=10, limit=1 << 20, content=body)

        yield fetch


# ------------------------------------------------------------------------------------------ AWS


def test_sigv4_matches_amazons_own_example() -> None:
    """`get-vanilla` of the Signature Version 4 test suite."""
    signed = sign(
        "GET",
        "https://example.amazonaws.com/",
        {},
        b"",
        keys=Keys(access_key="AKIDEXAMPLE", secret_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        region="us-east-1",
        service="service",
        now=datetime(2015, 8, 30, 12, 36, tzinfo=UTC),
    )
    assert signed["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    )


def ecr_answer(password: str = "pass:word") -> dict[str, object]:
    token = base64.b64encode(f"AWS:{password}".encode()).decode()
    return {"authorizationData": [{"authorizationToken": token, "expiresAt": NOW.timestamp() + 43200}]}


KEYS = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_SESSION_TOKEN": "session"}


async def test_ecr_with_keys_of_the_environment(cloud: Cloud, fetch: Fetch) -> None:
    cloud.answers["/"] = (200, ecr_answer())
    found, until = await login(Provider.AWS, ECR, KEYS | {"AWS_ENDPOINT_URL_ECR": cloud.url}, fetch, now=NOW)
    assert found is not None
    assert (found.username, found.password, until) == ("AWS", "pass:word", NOW + timedelta(hours=12))
    asked = cloud.asked[0]
    assert asked.headers["X-Amz-Target"] == "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
    assert asked.headers["X-Amz-Security-Token"] == "session"
    assert "Credential=AKID/20200101/eu-west-1/ecr/aws4_request" in asked.headers["Authorization"]


async def test_ecr_public_is_asked_in_us_east_1(cloud: Cloud, fetch: Fetch) -> None:
    answer = ecr_answer()["authorizationData"][0]  # type: ignore[index]
    cloud.answers["/"] = (200, {"authorizationData": answer})
    found, _ = await login(Provider.AWS, "public.ecr.aws", KEYS | {"AWS_ENDPOINT_URL": cloud.url}, fetch, now=NOW)
    assert found is not None
    assert cloud.asked[0].headers["X-Amz-Target"] == "SpencerFrontendService.GetAuthorizationToken"
    assert "/us-east-1/ecr-public/" in cloud.asked[0].headers["Authorization"]


STS = f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>sts-secret</SecretAccessKey>
<SessionToken>sts-session</SessionToken><Expiration>{LATER}</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""


async def test_ecr_with_irsa(cloud: Cloud, fetch: Fetch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("web-identity\n")
    cloud.answers |= {"/sts/": (200, STS), "/ecr/": (200, ecr_answer())}
    environment = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ROLE_ARN": "arn:aws:iam::1:role/updater",
        "AWS_ENDPOINT_URL_STS": f"{cloud.url}/sts",
        "AWS_ENDPOINT_URL_ECR": f"{cloud.url}/ecr",
    }
    found, _ = await login(Provider.AWS, ECR, environment, fetch, now=NOW)
    assert found is not None
    form = cloud.asked[0].form
    assert (form["Action"], form["WebIdentityToken"]) == ("AssumeRoleWithWebIdentity", "web-identity")
    assert form["RoleArn"] == "arn:aws:iam::1:role/updater"
    assert cloud.asked[1].headers["X-Amz-Security-Token"] == "sts-session"


AGENT = {"AccessKeyId": "ASIA", "SecretAccessKey": "s", "Token": "agent-session", "Expiration": LATER}


@pytest.mark.parametrize("relative", [False, True], ids=["EKS Pod Identity", "ECS"])
async def test_ecr_with_the_agent_of_the_container(cloud: Cloud, fetch: Fetch, tmp_path: Path, relative: bool) -> None:
    (tmp_path / "token").write_text("pod-token")
    cloud.answers |= {"/v1/credentials": (200, AGENT), "/": (200, ecr_answer())}
    environment = {"AWS_ENDPOINT_URL_ECR": cloud.url}
    if relative:
        environment |= {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v1/credentials"}
    else:
        environment |= {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{cloud.url}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
        }
    found, _ = await login(Provider.AWS, ECR, environment, fetch, now=NOW)
    assert found is not None
    assert cloud.asked[0].headers.get("Authorization") == (None if relative else "pod-token")
    assert cloud.asked[1].headers["X-Amz-Security-Token"] == "agent-session"


async def test_the_agents_address_must_be_the_agents(fetch: Fetch) -> None:
    environment = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://evil.example.net/",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "t",
    }
    with pytest.raises(AuthenticationFailed, match="neither https"):
        await login(Provider.AWS, ECR, environment, fetch, now=NOW)


async def test_ecr_with_the_instances_role_by_imdsv2(cloud: Cloud, fetch: Fetch) -> None:
    place = "/latest/meta-data/iam/security-credentials/"
    cloud.answers |= {
        "/latest/api/token": (200, "imds-token"),
        place: (200, "node-role\n"),
        f"{place}node-role": (200, AGENT),
        "/": (200, ecr_answer()),
    }
    environment = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": cloud.url, "AWS_ENDPOINT_URL_ECR": cloud.url}
    found, _ = await login(Provider.AWS, ECR, environment, fetch, now=NOW)
    assert found is not None
    assert [asked.method for asked in cloud.asked] == ["PUT", "GET", "GET", "POST"]
    assert {asked.headers.get("X-aws-ec2-metadata-token") for asked in list(cloud.asked)[1:3]} == {"imds-token"}


@pytest.mark.parametrize(
    "environment", [{"AWS_EC2_METADATA_DISABLED": "true"}, {}], ids=["metadata disabled", "no metadata service"]
)
async def test_without_an_aws_identity_the_remedy_is_said(fetch: Fetch, environment: dict[str, str]) -> None:
    with pytest.raises(AuthenticationFailed, match=r"no AWS identity.*IRSA"):
        await login(Provider.AWS, ECR, environment, fetch, now=NOW)


@pytest.mark.parametrize(
    ("status", "answer", "error"),
    [
        (400, {"__type": "UnrecognizedClientException", "message": "invalid token: session"}, AuthenticationFailed),
        (500, {}, RegistryUnavailable),
        (200, {}, InvalidAnswer),
        (200, "<html>", InvalidAnswer),
        (200, {"authorizationData": [{"authorizationToken": "***"}]}, InvalidAnswer),
        (200, {"authorizationData": [{"authorizationToken": "QVdT"}]}, InvalidAnswer),
    ],
    ids=["refused", "down", "empty", "html", "no base64", "no password"],
)  # fmt: skip
async def test_an_ecr_answer_that_is_none_is_an_error_without_secrets(
    cloud: Cloud, fetch: Fetch, status: int, answer: object, error: type[Exception]
) -> None:
    cloud.answers["/"] = (status, answer)
    with pytest.raises(error) as caught:
        await login(Provider.AWS, ECR, KEYS | {"AWS_ENDPOINT_URL_ECR": cloud.url}, fetch, now=NOW)
    assert "hidden" not in str(caught.value)
    assert ": session" not in str(caught.value)


# ------------------------------------------------------------------------------------------ Google


async def test_google_with_the_metadata_server(cloud: Cloud, fetch: Fetch) -> None:
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    cloud.answers[path] = (200, {"access_token": "ya29", "expires_in": 3599})
    environment = {"GCE_METADATA_HOST": cloud.url.removeprefix("http://")}
    found, until = await login(Provider.GCP, "europe-docker.pkg.dev", environment, fetch, now=NOW)
    assert found is not None
    assert (found.username, found.password, until) == ("oauth2accesstoken", "ya29", NOW + timedelta(seconds=3599))
    assert cloud.asked[0].headers["Metadata-Flavor"] == "Google"


def credentials_file(folder: Path, value: object) -> dict[str, str]:
    file = folder / "credentials.json"
    file.write_text(json.dumps(value))
    return {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}


async def test_google_with_a_service_accounts_key(cloud: Cloud, fetch: Fetch, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    value = {
        "type": "service_account",
        "client_email": "updater@p.iam.gserviceaccount.com",
        "private_key": pem.decode(),
        "private_key_id": "k1",
        "token_uri": f"{cloud.url}/token",
    }
    cloud.answers["/token"] = (200, {"access_token": "ya29", "expires_in": 3600})
    found, _ = await login(Provider.GCP, "gcr.io", credentials_file(tmp_path, value), fetch, now=NOW)
    assert found is not None
    head, claims, signature = (
        base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in cloud.asked[0].form["assertion"].split(".")
    )
    assert json.loads(head)["kid"] == "k1"
    assert json.loads(claims)["aud"] == f"{cloud.url}/token"
    signed = cloud.asked[0].form["assertion"].rpartition(".")[0].encode()
    key.public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize("impersonated", [False, True], ids=["direct", "impersonating an account"])
@pytest.mark.parametrize("source", ["file", "url", "json"])
async def test_google_with_workload_identity_federation(
    cloud: Cloud, fetch: Fetch, tmp_path: Path, impersonated: bool, source: str
) -> None:
    (tmp_path / "subject").write_text("subject-token" if source == "file" else '{"id_token": "subject-token"}')
    sources: dict[str, object] = {
        "file": {"file": str(tmp_path / "subject")},
        "url": {"url": f"{cloud.url}/subject", "headers": {"X-A": "b"}},
        "json": {"file": str(tmp_path / "subject"), "format": {"type": "json", "subject_token_field_name": "id_token"}},
    }
    value = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{cloud.url}/sts",
        "credential_source": sources[source],
    }
    if impersonated:
        value["service_account_impersonation_url"] = f"{cloud.url}/impersonate"
    cloud.answers |= {
        "/subject": (200, "subject-token"),
        "/sts": (200, {"access_token": "federated", "expires_in": 3600}),
        "/impersonate": (200, {"accessToken": "account", "expireTime": LATER}),
    }
    found, _ = await login(Provider.GCP, "eu.gcr.io", credentials_file(tmp_path, value), fetch, now=NOW)
    assert found is not None
    assert found.password == ("account" if impersonated else "federated")
    exchange = next(asked for asked in cloud.asked if asked.target == "/sts")
    assert exchange.form["subject_token"] == "subject-token"


async def test_google_with_a_users_own_login(cloud: Cloud, fetch: Fetch, tmp_path: Path) -> None:
    value = {
        "type": "authorized_user",
        "client_id": "c",
        "client_secret": "s",
        "refresh_token": "r",
        "token_uri": f"{cloud.url}/token",
    }
    cloud.answers["/token"] = (200, {"access_token": "ya29"})
    found, until = await login(Provider.GCP, "gcr.io", credentials_file(tmp_path, value), fetch, now=NOW)
    assert found is not None
    assert (found.password, until) == ("ya29", NOW + timedelta(minutes=5))


@pytest.mark.parametrize(
    "value",
    [
        {"type": "something"},
        [],
        {"type": "service_account", "client_email": "x", "private_key": "x"},
        {"type": "service_account", "client_email": "x", "private_key": "x", "token_uri": "http://evil.example.net/"},
        {"type": "external_account", "audience": "a", "subject_token_type": "t"},
        {
            "type": "external_account",
            "audience": "a",
            "subject_token_type": "t",
            "credential_source": {"executable": {}},
        },
    ],
    ids=["another type", "a list", "no key", "plain http", "no source", "an executable source"],
)
async def test_a_google_file_that_does_not_help_says_why(fetch: Fetch, tmp_path: Path, value: object) -> None:
    with pytest.raises(AuthenticationFailed):
        await login(Provider.GCP, "gcr.io", credentials_file(tmp_path, value), fetch, now=NOW)


# ------------------------------------------------------------------------------------------ Azure


def jwt(seconds: int) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({})}.{part({'exp': int(NOW.timestamp()) + seconds})}.sig"


async def test_azure_with_workload_identity(cloud: Cloud, fetch: Fetch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("federated")
    refresh = jwt(10800)
    cloud.answers |= {
        "/tenant/oauth2/v2.0/token": (200, {"access_token": "entra"}),
        "/oauth2/exchange": (200, {"refresh_token": refresh}),
    }
    environment = {
        "AZURE_CLIENT_ID": "client",
        "AZURE_TENANT_ID": "tenant",
        "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token"),
        "AZURE_AUTHORITY_HOST": f"{cloud.url}/",
    }
    found, until = await login(Provider.AZURE, "x.azurecr.io", environment, fetch, now=NOW)
    assert found is not None
    assert (found.identity_token, until) == (refresh, NOW + timedelta(hours=3))
    first, second = cloud.asked
    assert (first.form["client_assertion"], first.form["scope"]) == (
        "federated",
        "https://containerregistry.azure.net/.default",
    )
    assert (second.form["grant_type"], second.form["service"], second.form["access_token"], second.form["tenant"]) == (
        "access_token",
        "x.azurecr.io",
        "entra",
        "tenant",
    )


@pytest.mark.parametrize("app_service", [False, True], ids=["IMDS", "App Service"])
async def test_azure_with_a_managed_identity(cloud: Cloud, fetch: Fetch, app_service: bool) -> None:
    cloud.answers |= {
        "/metadata/identity/oauth2/token": (200, {"access_token": "entra"}),
        "/msi": (200, {"access_token": "entra"}),
        "/oauth2/exchange": (200, {"refresh_token": "opaque"}),
    }
    environment = {"AZURE_CLIENT_ID": "client", "AZURE_POD_IDENTITY_AUTHORITY_HOST": cloud.url}
    if app_service:
        environment |= {"IDENTITY_ENDPOINT": f"{cloud.url}/msi", "IDENTITY_HEADER": "secret"}
    found, until = await login(Provider.AZURE, "x.azurecr.io", environment, fetch, now=NOW)
    assert found is not None
    assert (found.identity_token, until) == ("opaque", NOW + timedelta(hours=1))
    assert "client_id=client" in cloud.asked[0].target
    assert cloud.asked[0].headers.get("X-IDENTITY-HEADER" if app_service else "Metadata")


async def test_azure_with_a_client_secret(cloud: Cloud, fetch: Fetch) -> None:
    cloud.answers |= {
        "/tenant/oauth2/v2.0/token": (401, {"error": "invalid_client", "error_description": "bad secret hidden"}),
    }
    environment = {
        "AZURE_CLIENT_ID": "client",
        "AZURE_TENANT_ID": "tenant",
        "AZURE_CLIENT_SECRET": "hidden",
        "AZURE_AUTHORITY_HOST": cloud.url,
    }
    with pytest.raises(AuthenticationFailed, match=r"Entra ID.*bad secret \*\*\*"):
        await login(Provider.AZURE, "x.azurecr.io", environment, fetch, now=NOW)


@pytest.mark.parametrize(("provider", "host"), [(Provider.AZURE, "x.azurecr.io"), (Provider.GCP, "gcr.io")], ids=str)
async def test_without_an_identity_the_remedy_is_said(provider: Provider, host: str) -> None:
    async def nothing(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        raise RegistryUnavailable("no such host")

    with pytest.raises(AuthenticationFailed, match="identity is to be had"):
        await login(provider, host, {}, nothing, now=NOW)


# ------------------------------------------------------------------------------------------ together


@pytest.mark.parametrize("provider", list(Provider), ids=str)
async def test_a_registry_that_is_not_this_clouds_causes_no_cloud_call(provider: Provider) -> None:
    async def never(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        raise AssertionError(url)

    assert await login(provider, "ghcr.io", KEYS, never, now=NOW) == (None, None)
    assert await login(Provider.GENERIC, ECR, KEYS, never, now=NOW) == (None, None)


async def test_a_policy_with_provider_aws_lists_an_ecr_repository(
    registry: EmbeddedRegistry, make_client: MakeClient, fake_time: FakeTime
) -> None:
    """The registry stands in as the proxy that all requests pass, so that the name can be Amazon's."""
    client = make_client()
    registry.push("acme/app", "1.0.0")
    auth = registry.faults.auth = Auth(scheme="basic", users={"AWS": "one"})
    answer = ecr_answer("one") | {}
    registry.faults.script(r"^POST .*ecr\.test/", Reply(body=json.dumps(answer)))
    policy = ImagePolicy(
        meta=Meta(key=ObjectKey("default", "app")),
        image=f"{ECR}/acme/app",
        strategy=SemverPolicy(range="*"),
        provider=Provider.AWS,
        insecure=True,
    )
    access = access_for(policy, lambda _: None, KEYS | {"AWS_ENDPOINT_URL_ECR": "http://ecr.test"})
    access = dataclasses.replace(access, proxies=Proxies(http=registry.url))
    image = parse_name(policy.image)
    found = await asyncio.gather(*(client.tags(image, access, fresh=True) for _ in range(3)))
    assert {each.tags for each in found} == {("1.0.0",)}
    assert registry.requests["POST base"] + registry.requests["POST other"] == 1
    # Revoked: what was kept is dropped, asked for once more, and the same listing goes on.
    auth.users = {"AWS": "two"}
    registry.faults.script(r"^POST .*ecr\.test/", Reply(body=json.dumps(ecr_answer("two"))))
    assert (await client.tags(image, access)).tags == ("1.0.0",)
    assert all(
        "n=1000" in seen.target and "n=10000" not in seen.target for seen in registry.seen if "list" in seen.target
    )
    assert fake_time.slept == []
