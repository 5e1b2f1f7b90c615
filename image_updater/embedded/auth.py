"""Logins of the embedded registry: basic, or bearer with a token server of its own (distribution's token and OAuth 2
forms).
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs, parse_qsl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(slots=True)
class _Token:
    scope: str
    uses: int | None


@dataclass(slots=True, kw_only=True)
class Auth:
    """`scheme` says what is asked for; `challenge` replaces the header(s) of a 401 (`{realm}` becomes the own token
    server's URL).
    """

    scheme: Literal["basic", "bearer"] = "bearer"
    users: Mapping[str, str] = field(default_factory=dict)
    anonymous: bool = True
    """Bearer: the token server serves people without credentials."""
    challenge: Sequence[str] | None = None
    realm: str | None = None
    service: str = "embedded"
    expires_in: int | None = 300
    uses: int | None = None
    """A token dies after so many requests, however young: an expiry in mid-list without waiting."""
    refresh_tokens: bool = False
    token_body: Mapping[str, object] | None = None
    error_body: bytes = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
    scopes: list[str] = field(default_factory=list)
    """Scopes that the token server was asked for, in order."""
    grants: list[str] = field(default_factory=list)
    """How tokens were asked for: `basic:USER`, `anonymous`, `refresh_token`."""
    services: list[str | None] = field(default_factory=list)
    _tokens: dict[str, _Token] = field(default_factory=dict)
    _refresh: set[str] = field(default_factory=set)

    def challenges(self, own_realm: str, scope: str) -> list[str]:
        realm = self.realm or own_realm
        if self.challenge is not None:
            return [text.replace("{realm}", realm) for text in self.challenge]
        if self.scheme == "basic":
            return ['Basic realm="embedded"']
        return [f'Bearer realm="{realm}",service="{self.service}",scope="{scope}"']

    def admits(self, header: str) -> bool:
        scheme, _, rest = header.partition(" ")
        if scheme.lower() == "basic":
            return self.scheme == "basic" and self.user(header) is not None
        token = self._tokens.get(rest)
        if scheme.lower() != "bearer" or token is None:
            return False
        if token.uses is None:
            return True
        token.uses -= 1
        return token.uses >= 0

    def user(self, header: str) -> str | None:
        """The user of a basic Authorization header, if the password is right."""
        scheme, _, rest = header.partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            name, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
        except ValueError:
            return None
        return name if name in self.users and self.users[name] == password else None

    def revoke(self) -> None:
        """Every token that was given out is worthless from now on."""
        self._tokens.clear()

    def issue(self, method: str, query: str, form: str, header: str) -> tuple[int, Mapping[str, object]]:
        """The token server: GET with basic credentials or none, POST `grant_type=refresh_token`."""
        if method == "POST":
            fields = dict(parse_qsl(form))
            self._note(fields.get("scope", ""), fields.get("service"), "refresh_token")
            if fields.get("grant_type") != "refresh_token" or fields.get("refresh_token") not in self._refresh:
                return 401, {"error": "invalid_grant", "error_description": "no such refresh token"}
            return 200, self._body(fields.get("scope", ""))
        fields = {key: values[0] for key, values in parse_qs(query, keep_blank_values=True).items()}
        scope = fields.get("scope", "")
        user = self.user(header)
        self._note(scope, fields.get("service"), f"basic:{user}" if header else "anonymous")
        if (header and user is None) or (not header and not self.anonymous):
            return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]}
        return 200, self._body(scope)

    def allow_refresh(self, token: str) -> None:
        self._refresh.add(token)

    def _note(self, scope: str, service: str | None, grant: str) -> None:
        self.scopes.append(scope)
        self.services.append(service)
        self.grants.append(grant)

    def _body(self, scope: str) -> Mapping[str, object]:
        token = secrets.token_urlsafe(24)
        self._tokens[token] = _Token(scope, self.uses)
        if self.token_body is not None:
            return {key: token if value == "{token}" else value for key, value in self.token_body.items()}
        body: dict[str, object] = {"token": token}
        if self.expires_in is not None:
            body["expires_in"] = self.expires_in
        if self.refresh_tokens:
            body["refresh_token"] = refresh = secrets.token_urlsafe(24)
            self._refresh.add(refresh)
        return body
