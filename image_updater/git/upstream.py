"""Where a work tree's branch is pushed, and what its own configuration offers as a login. Reads Git's
configuration, writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pygit2

from image_updater.git import urls
from image_updater.git.access import GitAccess
from image_updater.git.errors import CheckoutError


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The remote's configured name, its URL (insteadOf and pushurl applied) and the branch there."""

    remote: str
    url: str
    branch: str

    def __repr__(self) -> str:
        return f"Upstream({self.remote}, {urls.redact(self.url)}, {self.branch})"


def find(repository: pygit2.Repository, branch: str) -> Upstream:
    """branch.*.pushRemote, remote.pushDefault, branch.*.remote (in this order); branch.*.merge. Raises
    CheckoutError.
    """

    def value(key: str) -> str | None:
        try:
            return repository.config[key]
        except KeyError:
            return None

    own = value(f"branch.{branch}.remote")
    name = value(f"branch.{branch}.pushremote") or value("remote.pushdefault") or own
    if not name or (name == "." and own == "."):
        raise CheckoutError(f"the branch {branch} has no upstream", remedy=f"git push -u origin {branch}")
    merge = value(f"branch.{branch}.merge")
    target = merge.removeprefix("refs/heads/") if merge and name == own else branch
    if name not in set(repository.remotes.names()):
        if "/" in name or ":" in name:
            return Upstream(remote=name, url=name, branch=target)
        raise CheckoutError(
            f"the branch {branch} is to be pushed to {name}, which is no remote", remedy="see git remote -v"
        )
    remote = repository.remotes[name]
    url = remote.push_url or remote.url
    if not url:
        raise CheckoutError(f"the remote {name} has no URL", remedy="see git remote -v")
    return Upstream(remote=name, url=url, branch=target)


def with_header(repository: pygit2.Repository, address: urls.Address, access: GitAccess) -> GitAccess:
    """CI systems leave their token as `http.<url>.extraheader` in the checkout; it serves where nothing
    else is given.
    """
    if address.ssh or address.local or access.password or access.bearer:
        return access
    best: tuple[int, str] | None = None
    for entry in repository.config:
        key = entry.name
        if key.lower().startswith("http.") and key.lower().endswith(".extraheader") and entry.value:
            scope = key[len("http.") : -len(".extraheader")].rstrip("/")
            covers = address.bare == scope or address.bare.startswith(f"{scope}/")
            if covers and (best is None or len(scope) > best[0]):
                best = (len(scope), entry.value)
    return replace(access, header=best[1]) if best else access
