"""Amazon ECR: GetAuthorizationToken, signed with the keys of the environment, IRSA, EKS Pod Identity (or ECS), or the
instance.

Tried in that order, as AWS's own tools do. A token serves every repository of the account in that region for 12 hours.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import re
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlencode, urlsplit

from image_updater.registry.clouds.answers import FORM, Fetch, expect, read_file, read_object, text, when
from image_updater.registry.clouds.sigv4 import Keys, sign
from image_updater.registry.dockerconfig import Credentials
from image_updater.registry.errors import AuthenticationFailed, InvalidAnswer, RegistryUnavailable

_PRIVATE = re.compile(
    r"\d+\.dkr[.-]ecr(?P<fips>-fips)?\.(?P<region>[a-z0-9-]+)\.(?P<suffix>amazonaws\.com(?:\.cn)?|on\.aws)\Z"
)
_FIELD = re.compile(r"<(AccessKeyId|SecretAccessKey|SessionToken)>([^<]+)</\1>")
_TARGET = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
_PUBLIC_TARGET = "SpencerFrontendService.GetAuthorizationToken"
_CONTAINER_HOSTS = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost"})


async def login(
    host: str, environment: Mapping[str, str], fetch: Fetch, *, now: datetime
) -> tuple[Credentials | None, datetime | None]:
    """`AWS` and a password for `ACCOUNT.dkr.ecr.REGION.amazonaws.com` or `public.ecr.aws`."""
    public = host == "public.ecr.aws"
    match = _PRIVATE.match(host)
    if match is None and not public:
        return None, None
    region = match["region"] if match else "us-east-1"
    service = "ecr-public" if public else "ecr"
    endpoint = environment.get(f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}") or environment.get(
        "AWS_ENDPOINT_URL"
    )
    if not endpoint:
        name = f"api.{service}" if match is None or not match["fips"] else "ecr-fips"
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        endpoint = f"https://{name}.{region}.{suffix}"
    keys = await credentials(environment, region, fetch)
    url = f"{endpoint.rstrip('/')}/"
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": _PUBLIC_TARGET if public else _TARGET,
    }
    signed = sign("POST", url, headers, b"{}", keys=keys, region=region, service=service, now=now)
    secrets = tuple(part for part in (keys.secret_key, keys.session_token) if part)
    value = read_object(await fetch("POST", url, signed, b"{}"), "ECR", secrets)
    data = value.get("authorizationData")
    entry = data[0] if isinstance(data, list) and data else data
    if not isinstance(entry, Mapping):
        raise InvalidAnswer("ECR answers without `authorizationData`")
    try:
        user, colon, password = (
            base64.b64decode(text(entry, "authorizationToken", "ECR"), validate=True).decode().partition(":")
        )
    except ValueError:
        raise InvalidAnswer("ECR answers with a token that is not base64") from None
    if not colon or not password:
        raise InvalidAnswer("ECR answers with a token that is not user:password")
    return Credentials(username=user, password=password), when(entry.get("expiresAt"))


async def credentials(environment: Mapping[str, str], region: str, fetch: Fetch) -> Keys:
    """The keys of where we run. Raises AuthenticationFailed where there are none."""
    key, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if key and secret:
        return Keys(access_key=key, secret_key=secret, session_token=environment.get("AWS_SESSION_TOKEN") or None)
    if environment.get("AWS_WEB_IDENTITY_TOKEN_FILE") and environment.get("AWS_ROLE_ARN"):
        return await _web_identity(environment, region, fetch)
    if environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") or environment.get(
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
    ):
        return await _container(environment, fetch)
    if environment.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true":
        return await _instance(environment, fetch)
    raise AuthenticationFailed(
        "no AWS identity is to be had", remedy="set up IRSA or EKS Pod Identity, or AWS_ACCESS_KEY_ID and its secret"
    )


async def _web_identity(environment: Mapping[str, str], region: str, fetch: Fetch) -> Keys:
    """IRSA: STS AssumeRoleWithWebIdentity, which needs no signature."""
    path = environment["AWS_WEB_IDENTITY_TOKEN_FILE"]
    token = await asyncio.to_thread(read_file, path, "AWS_WEB_IDENTITY_TOKEN_FILE")
    endpoint = environment.get("AWS_ENDPOINT_URL_STS") or environment.get("AWS_ENDPOINT_URL")
    if not endpoint:
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        endpoint = f"https://sts.{environment.get('AWS_REGION') or region}.{suffix}"
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": environment["AWS_ROLE_ARN"],
        "RoleSessionName": environment.get("AWS_ROLE_SESSION_NAME") or "image-updater",
        "WebIdentityToken": token,
    }
    headers = {"Content-Type": FORM["Content-Type"]}
    answer = await fetch("POST", f"{endpoint.rstrip('/')}/", headers, urlencode(form).encode())
    # The three fields are picked out of the XML: an XML parser would have to be kept from entities and bombs.
    found = dict(_FIELD.findall(expect(answer, "AWS STS", (token,)).decode("utf-8", "replace")))
    if not {"AccessKeyId", "SecretAccessKey", "SessionToken"} <= found.keys():
        raise InvalidAnswer("AWS STS answers without credentials")
    return Keys(
        access_key=found["AccessKeyId"],
        secret_key=found["SecretAccessKey"],
        session_token=found["SessionToken"],
    )


async def _container(environment: Mapping[str, str], fetch: Fetch) -> Keys:
    """EKS Pod Identity and ECS: an agent on a link-local or loopback address."""
    url = environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if not url:
        url = f"http://169.254.170.2{environment['AWS_CONTAINER_CREDENTIALS_RELATIVE_URI']}"
    parts = urlsplit(url)
    if parts.scheme != "https" and not _is_agent(parts.hostname or ""):
        raise AuthenticationFailed(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor the agent's address", remedy="correct it"
        )
    headers: dict[str, str] = {}
    if path := environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
        headers["Authorization"] = await asyncio.to_thread(read_file, path, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    elif token := environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN"):
        headers["Authorization"] = token
    return _keys(
        await _get(fetch, url, headers, "the container's credential agent"), "the container's credential agent"
    )


async def _instance(environment: Mapping[str, str], fetch: Fetch) -> Keys:
    """The instance's role, by IMDSv2 only: its PUT cannot be forged through a simple proxy."""
    who = "the instance metadata service"
    base = (environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254").rstrip("/")
    try:
        answer = await fetch("PUT", f"{base}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "300"}, None)
    except RegistryUnavailable:
        raise AuthenticationFailed(
            "no AWS identity is to be had: no keys, no web identity, and no instance metadata service answers",
            remedy="set up IRSA or EKS Pod Identity, or AWS_ACCESS_KEY_ID and its secret",
        ) from None
    headers = {"X-aws-ec2-metadata-token": expect(answer, who).decode("ascii", "replace").strip()}
    place = f"{base}/latest/meta-data/iam/security-credentials/"
    role = (await _get(fetch, place, headers, who)).decode("utf-8", "replace").strip().splitlines()
    if not role:
        raise AuthenticationFailed("the instance has no role", remedy="attach an instance profile")
    return _keys(await _get(fetch, f"{place}{role[0]}", headers, who), who)


async def _get(fetch: Fetch, url: str, headers: Mapping[str, str], who: str) -> bytes:
    return expect(await fetch("GET", url, headers, None), who, tuple(headers.values()))


def _keys(body: bytes, who: str) -> Keys:
    try:
        value = json.loads(body)
    except ValueError:
        raise InvalidAnswer(f"{who} does not answer in JSON") from None
    if not isinstance(value, dict):
        raise InvalidAnswer(f"{who} does not answer with a JSON object")
    token = value.get("Token")
    return Keys(
        access_key=text(value, "AccessKeyId", who),
        secret_key=text(value, "SecretAccessKey", who),
        session_token=token if isinstance(token, str) and token else None,
    )


def _is_agent(host: str) -> bool:
    try:
        return host in _CONTAINER_HOSTS or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
