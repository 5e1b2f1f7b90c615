"""To whom a registry's credentials may be shown: the host rule for token realms, Links and redirects.

A registry says where its tokens come from (`realm`). Whoever can forge that answer, or runs the registry, must not be
able to have the credentials sent elsewhere. A realm gets them if its host

- is the registry's own host, whatever the port, or lies below it (`auth.ghcr.io` for `ghcr.io`);
- or is the registry's parent domain or a host below that one (`auth.docker.io` for `registry-1.docker.io`,
`gitlab.example.com`
  for `registry.example.com`), where the parent has two labels at least and is no suffix under which strangers register
  (`co.uk`, `azurecr.io`, `amazonaws.com`: a neighbour there is somebody else);
- or is named by the user: the docker config or the Secret has an entry for the realm's host, whose credentials are then
  sent, and one for the registry, which gets the token.

IP addresses and one-label names are equal or strangers. Any other realm is asked without credentials, over https only.
"""

from __future__ import annotations

import ipaddress

# Second-level labels under a country's domain that are suffixes, not owners.
_SECOND = frozenset(
    {"co", "com", "org", "net", "gov", "edu", "ac", "or", "ne", "go", "gob", "mil", "nom", "ltd", "plc", "me"}
)
# Suffixes of hosting services: each label below belongs to another customer.
_SHARED = (
    "amazonaws.com", "amazonaws.com.cn", "appspot.com", "azurecr.cn", "azurecr.io", "azurecr.us", "azurewebsites.net",
    "cloudapp.azure.com", "cloudapp.net", "cloudflareaccess.com", "cloudfront.net", "cluster.local", "cr.aws",
    "duckdns.org",
    "dyndns.org", "fly.dev", "github.io", "gitlab.io", "googleusercontent.com", "herokuapp.com", "jfrog.io", "local",
    "localhost",
    "netlify.app", "ngrok.io", "ngrok-free.app", "nip.io", "onrender.com", "pages.dev", "pkg.dev", "run.app",
    "sslip.io",
    "traefik.me", "trycloudflare.com", "vercel.app", "windows.net", "workers.dev", "xip.io",
)  # fmt: skip


def trusted(registry_host: str, realm_host: str) -> bool:
    """May `realm_host` see the credentials of `registry_host`? Both are host names without port."""
    registry, realm = registry_host.lower().rstrip("."), realm_host.lower().rstrip(".")
    if registry == realm:
        return True
    if _is_address(registry) or _is_address(realm) or "." not in registry:
        return False
    if realm.endswith(f".{registry}"):
        return not _is_suffix(registry)
    _, _, parent = registry.partition(".")
    if _is_suffix(parent):
        return False
    return realm == parent or realm.endswith(f".{parent}")


def _is_suffix(domain: str) -> bool:
    labels = domain.split(".")
    if len(labels) < 2:
        return True
    if len(labels) == 2 and len(labels[1]) == 2 and labels[0] in _SECOND:
        return True
    return any(domain == shared or domain.endswith(f".{shared}") for shared in _SHARED)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
