"""The server: OCI distribution spec 1.1 pull, push, content discovery and content management, on `aiohttp.web`."""

from __future__ import annotations

import asyncio
import bisect
import json
import re
import secrets
from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import web

from image_updater.embedded.contents import OCI_INDEX, Contents, Manifest, Repository, digest_of, dumps
from image_updater.embedded.faults import Faults, Reply
from image_updater.images import Digest, is_tag

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from aiohttp.web_request import BaseRequest

_ROUTE = re.compile(r"/v2/(?P<name>.+?)/(?P<kind>tags|manifests|blobs|referrers)/(?P<rest>.+)\Z")
_RANGE = re.compile(r"(\d+)-(\d+)\Z")
_MAX_BODY = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came in: `target` is path and query, `auth` the scheme of its Authorization header, lower case
    ('' = none).
    """

    method: str
    target: str
    auth: str


class EmbeddedRegistry:
    """`async with EmbeddedRegistry() as registry:` serves on `registry.host` until the block ends.

    `requests` counts by method and kind (`GET tags`, `HEAD manifests`, `GET token`, …); `seen` keeps the last 10,000.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        address: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        faults: Faults | None = None,
    ) -> None:
        self._address, self._port, self._tls = address, port, tls
        self.faults = faults or Faults()
        self.contents = Contents()
        self.requests: Counter[str] = Counter()
        self.seen: deque[Seen] = deque(maxlen=10_000)
        self._uploads: dict[str, bytearray] = {}
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> EmbeddedRegistry:
        runner = web.ServerRunner(web.Server(self._serve, access_log=None), shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, self._address, self._port, ssl_context=self._tls)
        await site.start()
        self._runner = runner
        self._port = runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def host(self) -> str:
        """`127.0.0.1:PORT`, as it stands in an image name."""
        return f"{self._address}:{self._port}"

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}"

    # ------------------------------------------------------------------------------------------ from inside the process

    def push(
        self,
        repository: str,
        tag: str,
        *,
        created: datetime | str | None = None,
        platforms: tuple[str, ...] = ("linux/amd64",),
        labels: Mapping[str, str] | None = None,
        attestations: bool = False,
        content: str | None = None,
    ) -> Digest:
        """Push a small valid image and tag it. `created` defaults to now, '' leaves it out; the same `content` gives
        the same digest.
        """
        if not is_tag(tag):
            raise ValueError(f"{tag!r} is not a tag")
        digest = self.contents.add_image(
            repository,
            text=content if content is not None else f"{repository}:{tag}",
            created=datetime.now(UTC) if created is None else created or None,
            platforms=platforms,
            labels=labels or {},
            attestations=attestations,
        )
        self.contents.repository(repository).tag(tag, digest)
        return digest

    def tag_many(self, repository: str, tags: Iterable[str], *, digest: Digest | None = None) -> None:
        """Give many tags to one image (a new one unless `digest` names another): cheap enough for 50,000 of them."""
        if digest is None:
            digest = self.contents.add_image(
                repository, text=repository, created=datetime.now(UTC), platforms=("linux/amd64",), labels={}
            )
        self.contents.repository(repository).tag_many(tags, digest)

    def put_manifest(self, repository: str, tag: str, data: bytes, media_type: str) -> Digest:
        """Store any bytes as a manifest, valid or not."""
        repo = self.contents.repository(repository)
        digest = repo.add(Manifest(media_type, data))
        repo.tag(tag, digest)
        return digest

    # ------------------------------------------------------------------------------------------ serving

    async def _serve(self, request: BaseRequest) -> web.StreamResponse:
        target = request.raw_path
        path = request.path
        authorization = request.headers.get("Authorization", "")
        match = _ROUTE.match(path)
        kind = match["kind"] if match else "token" if path == "/token" else "base" if path == "/v2/" else "other"
        self.requests[f"{request.method} {kind}"] += 1
        self.seen.append(Seen(request.method, target, authorization.partition(" ")[0].lower()))
        reply = self.faults.next_reply(f"{request.method} {target}") if self.faults.scripts else None
        if reply is not None:
            return await self._reply(request, reply)
        if kind == "token":
            return await self._token(request, authorization)
        auth = self.faults.auth
        if auth is not None and not auth.admits(authorization):
            scope = f"repository:{match['name']}:pull" if match else ""
            response = self._answer(401, auth.error_body)
            for challenge in auth.challenges(f"{self.url}/token", scope):
                response.headers.add("WWW-Authenticate", challenge)
            return response
        if kind == "base":
            return self._answer(self.faults.api_base, b"{}")
        if match is None:
            return self._catalog() if path == "/v2/_catalog" else self._error(404, "NOT_FOUND", "no such page")
        return await self._route(request, match["name"], kind, match["rest"])

    async def _route(self, request: BaseRequest, name: str, kind: str, rest: str) -> web.StreamResponse:
        if kind == "blobs" and rest.startswith("uploads"):
            return await self._upload(request, name, rest.removeprefix("uploads").strip("/"))
        repo = self.contents.repositories.get(name)
        if kind == "manifests" and request.method == "PUT":
            return await self._put_manifest(request, name, rest)
        if repo is None:
            return self._error(404, "NAME_UNKNOWN", "repository name not known to registry")
        if kind == "tags" and rest == "list":
            return await self._list(request, name, repo)
        if kind == "manifests":
            return self._manifest(request, repo, rest)
        if kind == "referrers" and self.faults.referrers:
            return self._referrers(repo, rest)
        if kind == "blobs":
            return self._blob(request, rest)
        return self._error(404, "NOT_FOUND", "no such page")

    async def _reply(self, request: BaseRequest, reply: Reply) -> web.StreamResponse:
        if reply.delay:
            await asyncio.sleep(reply.delay)
        body = reply.body.encode() if isinstance(reply.body, str) else reply.body
        if not reply.cut:
            response = self._answer(reply.status, body, reply.content_type)
            for key, value in reply.headers:
                response.headers.add(key, value)
            return response
        stream = web.StreamResponse(status=reply.status, headers={"Content-Type": reply.content_type})
        stream.content_length = len(body) + 1000
        await stream.prepare(request)
        await stream.write(body)
        if request.transport is not None:
            request.transport.close()
        return stream

    async def _token(self, request: BaseRequest, authorization: str) -> web.Response:
        auth = self.faults.auth
        if auth is None:
            return self._error(404, "NOT_FOUND", "no token server")
        form = (await request.content.read()).decode()
        status, body = auth.issue(request.method, request.query_string, form, authorization)
        return self._answer(status, dumps(body))

    def _catalog(self) -> web.Response:
        return self._answer(200, dumps({"repositories": sorted(self.contents.repositories)}))

    async def _list(self, request: BaseRequest, name: str, repo: Repository) -> web.Response:
        faults = self.faults
        if faults.page_delay:
            await asyncio.sleep(faults.page_delay)
        wanted = request.query.get("n")
        last = request.query.get("last", "")
        if wanted is not None and not wanted.isdigit():
            return self._error(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested")
        if faults.max_n is not None and wanted is not None and int(wanted) > faults.max_n:
            text = f"Invalid parameter at 'maxResults' failed to satisfy constraint: must be <= {faults.max_n}"
            return self._error(405, "UNSUPPORTED", text)
        size = int(wanted) if wanted is not None else None
        if faults.page_size is not None:
            size = min(size or faults.page_size, faults.page_size)
        key = (size, last)
        cached = repo.bodies.get(key)
        if cached is None:
            cached = repo.bodies[key] = _page(name, repo.order(), size, last)
        body, following = cached if isinstance(cached, tuple) else (b"", None)
        response = self._answer(200, faults.list_body(body) if faults.list_body else body)
        link = f'<{following}>; rel="next"' if following else None
        if faults.link is not None:
            link = faults.link(following or "")
        if link is not None:
            response.headers["Link"] = link
        for header, value in faults.list_headers:
            response.headers.add(header, value)
        return response

    def _manifest(self, request: BaseRequest, repo: Repository, reference: str) -> web.Response:
        if request.method == "DELETE":
            gone = repo.untag(reference)
            if ":" in reference and repo.manifests.pop(Digest(reference), None) is not None:
                for tag in [tag for tag, digest in repo.tags.items() if digest == reference]:
                    repo.untag(tag)
                gone = True
            return self._answer(202, b"") if gone else self._error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        if request.method == "HEAD" and not self.faults.head:
            return self._answer(405, b"")
        found = repo.resolve(reference)
        if found is None:
            return self._error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        digest, manifest = found
        media_type = manifest.media_type
        if self.faults.manifest_type is not None:
            media_type = self.faults.manifest_type(media_type)
        response = self._answer(200, manifest.data, media_type)
        if self.faults.digest_header:
            response.headers["Docker-Content-Digest"] = digest
            response.headers["ETag"] = f'"{digest}"'
        return response

    async def _put_manifest(self, request: BaseRequest, name: str, reference: str) -> web.Response:
        data = await request.content.read()
        try:
            value = json.loads(data)
        except ValueError:
            return self._error(400, "MANIFEST_INVALID", "manifest is not JSON")
        by_digest = ":" in reference
        if (by_digest and digest_of(data) != reference) or (not by_digest and not is_tag(reference)):
            return self._error(400, "DIGEST_INVALID" if by_digest else "TAG_INVALID", "reference does not match")
        repo = self.contents.repository(name)
        for entry in [value.get("config"), *value.get("layers", [])]:
            if entry and entry["digest"] not in self.contents.blobs:
                return self._error(404, "MANIFEST_BLOB_UNKNOWN", f"blob unknown: {entry['digest']}")
        for entry in value.get("manifests", []):
            if entry["digest"] not in repo.manifests:
                return self._error(404, "MANIFEST_BLOB_UNKNOWN", f"manifest unknown: {entry['digest']}")
        digest = repo.add(Manifest(request.headers.get("Content-Type", value.get("mediaType", "")), data))
        if not by_digest:
            repo.tag(reference, digest)
        headers = {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": digest}
        subject = value.get("subject")
        if subject and self.faults.referrers:
            headers["OCI-Subject"] = subject["digest"]
        return self._answer(201, b"", headers=headers)

    def _referrers(self, repo: Repository, digest: str) -> web.Response:
        found: list[dict[str, object]] = []
        for own, manifest in repo.manifests.items():
            value = json.loads(manifest.data)
            if value.get("subject", {}).get("digest") == digest:
                kind = value.get("artifactType") or value.get("config", {}).get("mediaType", "")
                found.append(
                    {
                        "mediaType": manifest.media_type,
                        "digest": own,
                        "size": len(manifest.data),
                        "artifactType": kind,
                        "annotations": value.get("annotations", {}),
                    }
                )
        return self._answer(200, dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}), OCI_INDEX)

    def _blob(self, request: BaseRequest, reference: str) -> web.Response:
        data = self.contents.blobs.get(Digest(reference))
        if data is None:
            return self._error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if request.method == "DELETE":
            del self.contents.blobs[Digest(reference)]
            return self._answer(202, b"")
        if self.faults.blob_redirect is not None:
            place = f"{self.faults.blob_redirect}/{reference}?sig={secrets.token_hex(8)}"
            return self._answer(307, b"", headers={"Location": place})
        return self._answer(200, data, "application/octet-stream", headers={"Docker-Content-Digest": reference})

    async def _upload(self, request: BaseRequest, name: str, upload: str) -> web.Response:
        """Monolithic (`POST ?digest=`, `POST` then `PUT`) and chunked (`PATCH` with Content-Range) uploads, and
        mounts.
        """
        digest = request.query.get("digest")
        if request.method == "POST":
            mount = request.query.get("mount")
            if mount and Digest(mount) in self.contents.blobs:
                return self._stored(name, Digest(mount))
            data = await request.content.read()
            if digest:
                return self._finish(name, bytearray(data), digest)
            upload = secrets.token_hex(16)
            self._uploads[upload] = bytearray()
            return self._progress(202, name, upload)
        pending = self._uploads.get(upload)
        if pending is None:
            return self._error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        if request.method == "GET":
            return self._progress(204, name, upload)
        if request.method == "DELETE":
            del self._uploads[upload]
            return self._answer(204, b"")
        chunk = await request.content.read()
        span = _RANGE.match(request.headers.get("Content-Range", ""))
        if span and (int(span[1]) != len(pending) or int(span[2]) - int(span[1]) + 1 != len(chunk)):
            return self._progress(416, name, upload)
        if len(pending) + len(chunk) > _MAX_BODY:
            return self._error(413, "SIZE_INVALID", "this registry holds small images only")
        pending += chunk
        if request.method == "PATCH":
            return self._progress(202, name, upload)
        if not digest:
            return self._error(400, "DIGEST_INVALID", "digest missing")
        del self._uploads[upload]
        return self._finish(name, pending, digest)

    def _finish(self, name: str, data: bytearray, digest: str) -> web.Response:
        if digest_of(bytes(data)) != digest:
            return self._error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        return self._stored(name, self.contents.add_blob(bytes(data)))

    def _stored(self, name: str, digest: Digest) -> web.Response:
        headers = {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}
        return self._answer(201, b"", headers=headers)

    def _progress(self, status: int, name: str, upload: str) -> web.Response:
        end = max(len(self._uploads[upload]) - 1, 0)
        headers = {"Location": f"/v2/{name}/blobs/uploads/{upload}", "Range": f"0-{end}", "Docker-Upload-UUID": upload}
        return self._answer(status, b"", headers=headers)

    def _error(self, status: int, code: str, message: str) -> web.Response:
        return self._answer(status, dumps({"errors": [{"code": code, "message": message}]}))

    def _answer(
        self,
        status: int,
        body: bytes,
        content_type: str = "application/json",
        *,
        headers: Mapping[str, str] | None = None,
    ) -> web.Response:
        base = {"Content-Type": content_type, "Docker-Distribution-Api-Version": "registry/2.0", **(headers or {})}
        response = web.Response(status=status, body=body, headers=base)
        for key, value in self.faults.headers:
            response.headers.add(key, value)
        return response


def _page(name: str, order: list[str], size: int | None, last: str) -> tuple[bytes, str | None]:
    """One page and the URL of the next (distribution spec, "Listing Tags": lexical order, `last` exclusive, `n=0` is
    empty).
    """
    start = bisect.bisect_right(order, last) if last else 0
    end = len(order) if size is None else start + size
    tags = order[start:end]
    following = None
    if tags and end < len(order):
        following = f"/v2/{name}/tags/list?n={size}&last={quote(tags[-1], safe='')}"
    return dumps({"name": name, "tags": tags}), following
