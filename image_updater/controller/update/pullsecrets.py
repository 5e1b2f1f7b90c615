"""Registry access as the workload has it: which pull secrets a policy may use, by service account or by workload.

An ImagePolicy uses what a pod of its namespace would: the pull secrets of its `serviceAccountName` (`default` without
one). A policy that was found as an annotation in Git uses what that workload has, in the namespace it is rendered for:
only if that is the automation's own, or if the automation's service account may `get` the Secret there. Whoever writes
to the repository is not thereby a reader of other namespaces' logins (design section 13).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from image_updater.api.model import ObjectKey
from image_updater.cluster.errors import Forbidden
from image_updater.cluster.model import Resource
from image_updater.controller.secrets import FRESH, SECRETS
from image_updater.errors import ImageUpdaterError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from image_updater.api.model import ImagePolicy, ImageUpdateAutomation
    from image_updater.controller.context import Context

ACCOUNTS: Final = Resource(group="", version="v1", kind="ServiceAccount", plural="serviceaccounts", namespaced=True)
DEFAULT: Final = "default"
RENEWED: Final = 5.0
"""Seconds after which a Secret whose login was refused is read again."""


@dataclass(frozen=True, slots=True)
class Account:
    """The pull secrets of a service account; `note` says why they are not known."""

    secrets: tuple[ObjectKey, ...] = ()
    note: str = ""
    exists: bool = True


class PullSecrets:
    """See the module. Service accounts are read by name, and again after a minute while they are in use."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._accounts: dict[ObjectKey, tuple[float, Account]] = {}
        self._reads: dict[ObjectKey, asyncio.Task[Account]] = {}
        self._users: dict[ObjectKey, ObjectKey] = {}
        """By ImagePolicy its service account."""
        self._made: dict[ObjectKey, tuple[ImagePolicy, Account, ImagePolicy]] = {}
        self._reviews: dict[tuple[str, ObjectKey], tuple[float, str]] = {}
        self._listeners: list[Callable[[frozenset[ObjectKey]], None]] = []

    def subscribe(self, listener: Callable[[frozenset[ObjectKey]], None]) -> None:
        """Be told the ImagePolicies whose service account has other pull secrets now."""
        self._listeners.append(listener)

    # ------------------------------------------------------------------------------------------- ImagePolicies

    async def of(self, policy: ImagePolicy) -> ImagePolicy:
        """The policy with its pull secrets; the same value as long as nothing changed."""
        if policy.secret_ref is not None:
            self.drop(policy.key)
            return policy
        key = ObjectKey(policy.key.namespace, policy.service_account_name or DEFAULT)
        self._users[policy.key] = key
        account = await self._account(key)
        if policy.service_account_name is None and not account.exists:
            account = Account()
        known = self._made.get(policy.key)
        if known is not None and known[0] == policy and known[1] == account:
            return known[2]
        made = policy
        if account.secrets or account.note:
            made = replace(policy, pull_secrets=account.secrets, pull_note=account.note)
        self._made[policy.key] = (policy, account, made)
        return made

    def drop(self, policy: ObjectKey) -> None:
        self._users.pop(policy, None)
        self._made.pop(policy, None)

    async def renew(self, policy: ImagePolicy) -> bool:
        """The login was refused: read the policy's Secrets again. True: one of them is another one now.

        What else may have changed (a service account, a right) is looked at, too, and leads to another policy.
        """
        await self._doubt(policy)
        secrets = self._context.secrets
        names = (policy.secret_ref, policy.cert_secret_ref, policy.proxy_secret_ref)
        keys = (*(ObjectKey(policy.key.namespace, name) for name in names if name is not None), *policy.pull_secrets)

        def known() -> list[object]:
            found: list[object] = []
            for key in keys:
                try:
                    found.append(secrets(key))
                except ImageUpdaterError:
                    found.append(None)
            return found

        before = known()
        await secrets.need(keys, fresh=RENEWED)
        return any(old is not new for old, new in zip(before, known(), strict=True))

    async def _doubt(self, policy: ImagePolicy) -> None:
        namespace = policy.found_by.namespace if policy.found_by is not None else None
        self._reviews = {place: each for place, each in self._reviews.items() if place[0] != namespace or not each[1]}
        key = self._users.get(policy.key)
        known = self._accounts.get(key) if key is not None else None
        if key is None or known is None or self._context.monotonic() - known[0] < RENEWED:
            return
        if await self._read(key) != known[1]:
            self._tell({key})

    def _tell(self, accounts: Collection[ObjectKey]) -> None:
        policies = frozenset(policy for policy, account in self._users.items() if account in accounts)
        if policies:
            for listener in self._listeners:
                listener(policies)

    async def run(self) -> None:
        """Read the service accounts in use again and again, for ever."""
        while True:
            await self._context.sleep(FRESH / 4)
            used = set(self._users.values())
            for key in self._accounts.keys() - used:
                del self._accounts[key]
            now = self._context.monotonic()
            due = [key for key in used if key in self._accounts and now - self._accounts[key][0] >= FRESH * 3 / 4]
            before = {key: self._accounts[key][1] for key in due}
            self._tell({key for key, account in before.items() if await self._read(key) != account})

    # ------------------------------------------------------------------------------------------- annotations

    async def resolve(
        self, automation: ImageUpdateAutomation, policies: Mapping[str, ImagePolicy]
    ) -> Mapping[str, ImagePolicy]:
        """The `PullResolver` of the line."""
        wanted: set[ObjectKey] = set()
        found: dict[str, ImagePolicy] = {}
        for name, policy in policies.items():
            if policy.secret_ref is not None:  # an ImagePolicy for the image lends its login
                found[name] = replace(policy, found_by=automation.key)
                continue
            secrets, notes = await self._allowed(automation, policy)
            wanted.update(secrets)
            found[name] = replace(
                policy, pull_secrets=secrets, pull_accounts=(), pull_note="; ".join(notes), found_by=automation.key
            )
        self._context.secrets.want(f"annotations found by {automation.key}", wanted)
        await self._context.secrets.need(wanted)
        return found

    def forget(self, automation: ObjectKey) -> None:
        """The automation is gone: nobody refers to these Secrets for it."""
        self._context.secrets.want(f"annotations found by {automation}", ())

    async def _allowed(
        self, automation: ImageUpdateAutomation, policy: ImagePolicy
    ) -> tuple[tuple[ObjectKey, ...], list[str]]:
        secrets = list(policy.pull_secrets)
        notes: list[str] = []
        for key in policy.pull_accounts:
            account = await self._account(key)
            secrets += account.secrets
            if account.note and (account.exists or key.name != DEFAULT):
                notes.append(account.note)
        allowed: list[ObjectKey] = []
        for secret in dict.fromkeys(secrets):
            note = await self._refusal(automation.key.namespace, secret)
            if note:
                notes.append(note)
            else:
                allowed.append(secret)
        return tuple(allowed), notes

    async def _refusal(self, namespace: str, secret: ObjectKey) -> str:
        """Why automations of this namespace may not use that Secret; "" = they may."""
        if secret.namespace == namespace:
            return ""
        now = self._context.monotonic()
        known = self._reviews.get((namespace, secret))
        if known is not None and now - known[0] < FRESH:
            return known[1]
        user = f"system:serviceaccount:{namespace}:{self._context.settings.default_service_account}"
        try:
            may = await self._context.cluster.may("get", SECRETS, secret.namespace, secret.name, user=user)
            note = "" if may else f"pull secret {secret} is not used: {user} may not get it"
        except ImageUpdaterError as error:
            note = f"pull secret {secret} is not used: whether {user} may get it is not known ({error.message})"
        self._reviews[namespace, secret] = (now, note)
        if len(self._reviews) > 10_000:
            self._reviews = {place: each for place, each in self._reviews.items() if now - each[0] < FRESH}
        return note

    # ------------------------------------------------------------------------------------------- service accounts

    async def _account(self, key: ObjectKey) -> Account:
        known = self._accounts.get(key)
        if known is not None and self._context.monotonic() - known[0] < FRESH:
            return known[1]
        return await self._read(key)

    async def _read(self, key: ObjectKey) -> Account:
        """Once at a time for all who wait."""
        running = self._reads.get(key)
        if running is None:
            running = self._reads[key] = asyncio.create_task(self._ask(key))
            running.add_done_callback(lambda _: self._reads.pop(key, None))
        return await asyncio.shield(running)

    async def _ask(self, key: ObjectKey) -> Account:
        known = self._accounts.get(key)
        try:
            body = await self._context.cluster.get(ACCOUNTS, key.name, key.namespace)
        except Forbidden:
            account = Account(note=f"the pull secrets of ServiceAccount {key} are not used: it may not be read")
        except ImageUpdaterError as error:
            kept = known[1].secrets if known is not None else ()
            account = Account(secrets=kept, note=f"ServiceAccount {key} cannot be read: {error.message}")
        else:
            if body is None:
                account = Account(note=f"there is no ServiceAccount {key}", exists=False)
            else:
                names = [each.get("name") for each in body.get("imagePullSecrets") or ()]
                account = Account(secrets=tuple(ObjectKey(key.namespace, name) for name in names if name))
        self._accounts[key] = (self._context.monotonic(), account)
        return account
