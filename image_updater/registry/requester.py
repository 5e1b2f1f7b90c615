"""One authorised request to a registry: login on demand, budgets, bounded retries, redirects without credentials.

What a host asks for is learned from its first 401 and remembered by host and identity, so that no `/v2/` probe is ever
sent. The rules for a 401: a request that carried nothing learns how to log in; one that carried something kept renews
it once; one that carried something made for this very request has failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin, urlsplit

from image_updater.images import ImageName
from image_updater.registry import challenges, realms
from image_updater.registry.access import Access, registry_host
from image_updater.registry.budgets import Budgets, Operation, Timing, retry_after
from image_updater.registry.challenges import Challenge
from image_updater.registry.dockerconfig import Credentials
from image_updater.registry.errors import AuthenticationFailed, InvalidAnswer, RegistryUnavailable
from image_updater.registry.http import Answer, Http
from image_updater.registry.logins import Logins
from image_updater.registry.tokens import Ask, Fetch, Tokens, words

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_RETRIED: Final = frozenset({500, 502, 503, 504, 408})
_MAX_REDIRECTS = 5
_MAX_TOKEN_ANSWER = 1 << 20
_METADATA_TIMEOUT = 5.0
_BACKOFF = 0.5
_SITES = 10_000
"""Beyond, the oldest are learned again: logins come and go for as long as the process lives."""


@dataclass(slots=True)
class Site:
    """One registry as one identity sees it: what it asks for, and its habits."""

    image_host: str
    """As the image names it (`docker.io`): what credentials are found by."""
    host: str
    origin: str
    scheme: str = ""
    """`basic`, `bearer`, or '' while nothing was asked for."""
    realm: str = ""
    service: str | None = None
    scopes: dict[str, str] = field(default_factory=dict)
    """Scopes by repository, where they are not the ones that we would ask for."""
    page_size: int | None = None
    library: dict[str, str] = field(default_factory=dict)
    """Repositories that are only found under `library/`."""

    @property
    def name(self) -> str:
        return urlsplit(self.origin).hostname or self.host

    def ask(self, access: Access, repository: str) -> Ask:
        scope = self.scopes.get(repository) or challenges.scope_for(self.name, repository, None)
        return Ask(access.identity, self.realm, self.service, scope)


@dataclass(frozen=True, slots=True)
class Authorization:
    """What a request carries. `fresh`: made for this request, nothing newer is to be had."""

    header: str | None
    fresh: bool
    credentials: Credentials | None = None


_NOTHING = Authorization(None, False)


class Requester:
    """Sends requests for the client; holds what is known of hosts, tokens and logins."""

    def __init__(self, http: Http, budgets: Budgets, timing: Timing, *, attempts: int) -> None:
        self.http = http
        self.budgets = budgets
        self._timing = timing
        self.attempts = attempts
        self._sites: dict[tuple[str, str], Site] = {}
        self._tokens = Tokens(timing.now)
        self._logins = Logins(timing.now)

    def site(self, image: ImageName, access: Access) -> Site:
        # However it is written, it is one host: for budgets, logins and clouds alike.
        registry = image.registry.lower()
        key = (registry, access.identity)
        found = self._sites.get(key)
        if found is None:
            if len(self._sites) >= _SITES:
                del self._sites[next(iter(self._sites))]
            host = registry_host(image)
            scheme = "http" if access.insecure else "https"
            found = self._sites[key] = Site(registry, host, f"{scheme}://{host}")
        return found

    async def send(
        self,
        method: str,
        site: Site,
        access: Access,
        repository: str,
        target: str,
        *,
        operation: Operation,
        limit: int,
        headers: Mapping[str, str],
        counted: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 - seconds for one exchange; the policy's own by default
        clip: bool = False,
        foreign: bool = False,
    ) -> Answer:
        """The answer to `METHOD origin+target`, whatever its status but 401, 429 and (after retries) 5xx, which
        raise; 501 is one (the method is not known).

        `clip`: a body beyond `limit` is cut. `foreign`: a refusal of the host that a redirect leads to is an answer,
        too.
        """
        budget = self.budgets[site.host]
        url = site.origin + target
        limited = failed = refused = 0
        while True:
            await budget.calm()
            authorization = await self._authorization(site, access, repository) if site.scheme else _NOTHING
            sent = {**headers, "Authorization": authorization.header} if authorization.header else headers
            sent_at = await budget.enter(counted=counted)
            try:
                answer = await self._follow(method, url, sent, site, access, limit, timeout or access.timeout, clip)
            except RegistryUnavailable as error:
                failed += 1
                if failed >= self.attempts or not error.at_once:
                    raise
                await self.pause(failed, None)
                continue
            finally:
                budget.leave()
            if "ratelimit-remaining" in answer.headers:
                budget.note(answer.headers)
                if budget.allowance is not None:
                    self.http.metrics.remaining[site.host] = budget.allowance.remaining
            status = answer.status
            if status < 400:
                return answer
            if answer.foreign is not None:
                if foreign and status < 500 and status != 429:
                    return answer
                raise RegistryUnavailable(f"{answer.foreign}, where {site.host} redirects to, answers {status}")
            if status == 429:
                self.http.metrics.rate_limited[site.host] += 1
                budget.limited(answer.headers.get("retry-after"), limited, operation, sent_at=sent_at)
                limited += 1
                if limited >= budget.limits.attempts or budget.blocked_for > budget.limits.max_wait:
                    raise budget.refusal()
                continue
            if status in _RETRIED:
                failed += 1
                if failed < self.attempts:
                    await self.pause(failed, answer.headers.get("retry-after"))
                    continue
                raise _unexpected(answer, authorization)
            if status == 401 or (status == 403 and _is_expired(answer, authorization)):
                refused += 1
                self._renew(answer, site, access, repository, authorization, last=refused > 2)
                continue
            if status > 501:
                raise _unexpected(answer, authorization)
            return answer

    # ------------------------------------------------------------------------------------------ login

    async def _authorization(self, site: Site, access: Access, repository: str) -> Authorization:
        if site.scheme == "bearer":
            ask = site.ask(access, repository)
            token = self._tokens.cached(ask)
            if token is not None:
                return Authorization(token.header, False)
            credentials = await self._realm_credentials(site, access, repository, ask)
            if credentials is not None and credentials.registry_token:
                return Authorization(f"Bearer {credentials.registry_token}", True, credentials)
            token, fresh = await self._tokens.get(ask, credentials, self._fetch(access, ask.host))
            return Authorization(token.header, fresh, credentials)
        login = await self._logins.find(access, site.image_host, repository, self._cloud_fetch(access))
        basic = login.credentials.basic if login.credentials is not None else None
        if basic is None:
            raise AuthenticationFailed(
                f"{site.host} asks for a login, and there are no credentials for it",
                remedy="set spec.secretRef, or `docker login`",
            )
        return Authorization(basic, login.fresh, login.credentials)

    async def _realm_credentials(self, site: Site, access: Access, repository: str, ask: Ask) -> Credentials | None:
        """The registry's own credentials for a realm that may see them, those of the realm's host where the user named
        both of them.
        """
        realm = urlsplit(ask.realm)
        if realms.trusted(site.name, realm.hostname or ""):
            login = await self._logins.find(access, site.image_host, repository, self._cloud_fetch(access))
            return login.credentials
        if realm.scheme != "https" or access.config.find(site.image_host, repository) is None:
            # A registry that nobody logs in to could else have a token of another's made, and be given it.
            return None
        named = access.config.find(realm.netloc, repository)
        return named[1] if named is not None else None

    def _renew(
        self, answer: Answer, site: Site, access: Access, repository: str, carried: Authorization, *, last: bool
    ) -> None:
        """Learn from a 401, so that the next try may succeed. Raises AuthenticationFailed where none would."""
        if carried.header is not None:
            if site.scheme == "bearer":
                self._tokens.drop(site.ask(access, repository), carried.header)
            self._logins.drop(access, site.image_host)
        before = (site.scheme, site.realm, site.service)
        offered = answer.headers.get_list("www-authenticate")
        if answer.status == 401 or offered:
            self._learn(offered, answer, site, access, repository)
        changed = before != (site.scheme, site.realm, site.service)
        if last or (carried.fresh and not changed):
            said = words(answer.body, carried.credentials.secrets if carried.credentials else ())
            who = "the credentials are refused" if carried.credentials else "a login is needed"
            raise AuthenticationFailed(
                f"{site.host}: {who}" + (f": {said}" if said else ""),
                remedy="check the credentials and their rights"
                if carried.credentials
                else "set spec.secretRef, or `docker login`",
            )

    def _learn(self, offered: list[str], answer: Answer, site: Site, access: Access, repository: str) -> None:
        try:
            found = challenges.parse(offered)
        except InvalidAnswer as error:
            raise AuthenticationFailed(f"{site.host}: {error.message}", remedy=error.remedy) from None
        challenge = _choose(found, site, access)
        if challenge is None:
            said = words(answer.body)
            kinds = ", ".join(sorted({each.scheme for each in found}))
            why = f"it offers only {kinds}" if kinds else "and does not say how to log in"
            raise AuthenticationFailed(
                f"{site.host} answers 401, {why}" + (f": {said}" if said else ""),
                remedy="this registry, or a proxy before it, uses a login that is not supported",
            )
        site.scheme = challenge.scheme
        if challenge.scheme == "bearer":
            site.realm, site.service = challenge.realm, challenge.service
            scope = challenges.scope_for(site.name, repository, challenge.params.get("scope"))
            if scope != challenges.scope_for(site.name, repository, None):
                site.scopes[repository] = scope

    # ------------------------------------------------------------------------------------------ exchanges

    async def _follow(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        site: Site,
        access: Access,
        limit: int,
        timeout: float,  # noqa: ASYNC109
        clip: bool = False,
    ) -> Answer:
        """Send, and follow redirects: whatever leaves the origin leaves without Authorization and client
        certificate.
        """
        foreign: str | None = None
        for _ in range(_MAX_REDIRECTS + 1):
            wire = access.wire(url)
            if foreign is not None:
                wire = wire.without_certificate()
            answer = await self.http.exchange(method, url, headers, wire=wire, timeout=timeout, limit=limit, clip=clip)
            if answer.status not in _REDIRECTS:
                break
            location = answer.headers.get("location", "")
            try:
                following = urljoin(url, location)
                old, new = urlsplit(url), urlsplit(following)
                leads = bool(location and new.hostname) and new.scheme in {"http", "https"} and new.username is None
            except ValueError:
                leads = False
            if not leads:
                raise InvalidAnswer(f"{answer.url}: a redirect ({answer.status}) that leads nowhere")
            if new.scheme == "http" and old.scheme == "https":
                raise InvalidAnswer(f"{answer.url}: a redirect from https to plain http ({new.netloc}) is not followed")
            if (old.scheme, old.netloc) != (new.scheme, new.netloc):
                foreign = new.hostname
                headers = {key: value for key, value in headers.items() if key != "Authorization"}
            url = following
        else:
            raise InvalidAnswer(f"{site.host}: more than {_MAX_REDIRECTS} redirects")
        if foreign is None:
            return answer
        return Answer(answer.status, answer.headers, answer.body, answer.url, foreign)

    def _fetch(self, access: Access, host: str) -> Fetch:
        """Requests to a token server, within that host's own budget."""
        return _Fetcher(self, access, host).fetch

    def _cloud_fetch(self, access: Access) -> Fetch:
        return _Fetcher(self, access, None).fetch

    async def pause(self, failed: int, header: str | None) -> None:
        """Before trying again after a fault: what the server asks for if it is short, else our own, with jitter."""
        ceiling = _BACKOFF * 2.0 ** (failed - 1)
        own = ceiling * (0.5 + self._timing.random() / 2)
        asked = retry_after(header, now=self._timing.now())
        await self._timing.sleep(asked if asked is not None and asked <= 10 else own)


@dataclass(frozen=True, slots=True)
class _Fetcher:
    """Token and cloud requests: 429 and 5xx are tried again like any other, redirects are not followed (they carry
    credentials).
    """

    requester: Requester
    access: Access
    host: str | None

    async def fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        requester, access = self.requester, self.access
        parts = urlsplit(url)
        wire = access.wire(url).without_certificate()
        timeout = access.timeout
        if self.host is not None:
            requester.http.metrics.tokens[requester.http.metrics.label(self.host)] += 1
        elif parts.scheme == "http" and not access.insecure:
            timeout = min(timeout, _METADATA_TIMEOUT)
        budget = requester.budgets[parts.netloc]
        operation = Operation()
        limited = failed = 0
        while True:
            sent_at = await budget.enter()
            try:
                answer = await requester.http.exchange(
                    method, url, headers, wire=wire, timeout=timeout, limit=_MAX_TOKEN_ANSWER, content=body
                )
            except RegistryUnavailable as error:
                failed += 1
                # Metadata services are there or not; only real services are worth a second try.
                if failed >= requester.attempts or not error.at_once or timeout <= _METADATA_TIMEOUT:
                    raise
                answer = None
            finally:
                budget.leave()
            if answer is not None and answer.status == 429:
                requester.http.metrics.rate_limited[requester.http.metrics.label(parts.netloc)] += 1
                budget.limited(answer.headers.get("retry-after"), limited, operation, sent_at=sent_at)
                limited += 1
                if limited >= budget.limits.attempts or budget.blocked_for > budget.limits.max_wait:
                    raise budget.refusal()
                continue
            if answer is None or answer.status in _RETRIED:
                failed += answer is not None
                if answer is not None and failed >= requester.attempts:
                    return answer
                await requester.pause(failed, None)
                continue
            return answer


def _choose(found: tuple[Challenge, ...], site: Site, access: Access) -> Challenge | None:
    """Bearer before Basic; among several Bearer realms one that may see the credentials before one that may not."""
    usable = [each for each in found if each.scheme == "bearer" and _is_usable(each.realm, site, access)]
    usable.sort(key=lambda each: not realms.trusted(site.name, urlsplit(each.realm).hostname or ""))
    if usable:
        return usable[0]
    return next((each for each in found if each.scheme == "basic"), None)


def _is_usable(realm: str, site: Site, access: Access) -> bool:
    """A realm is a URL, https unless the policy is `insecure` and the realm lies on the registry's own host."""
    try:
        parts = urlsplit(realm)
        host = parts.hostname
    except ValueError:
        return False
    if not host or parts.username is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and access.insecure and realms.trusted(site.name, host))


def _is_expired(answer: Answer, carried: Authorization) -> bool:
    """ECR answers an old token with 403 `Your authorization token has expired. Reauthenticate and try again.`"""
    return carried.header is not None and not carried.fresh and b"expired" in answer.body[:4096].lower()


def _unexpected(answer: Answer, carried: Authorization) -> RegistryUnavailable:
    said = words(answer.body, carried.credentials.secrets if carried.credentials else ())
    return RegistryUnavailable(
        f"{answer.url}: answer {answer.status}" + (f": {said}" if said else ""),
        remedy="no decision is made without its answer; try again later",
    )
