"""Everything about policies that can be wrong without asking anyone: ranges, patterns, references, Secrets, groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater import policy as policies_room
from image_updater.api import SpecErrors, check_references
from image_updater.api.model import NewestBy, NewestPolicy, ObjectKey
from image_updater.errors import SpecError, Where
from image_updater.images import parse_name
from image_updater.pipeline.answers.grouping import check_groups
from image_updater.pipeline.answers.listing import Source
from image_updater.pipeline.answers.outcome import policy_name
from image_updater.pipeline.answers.secrets import CurrentSecrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from image_updater.api.model import ImagePolicy, Objects
    from image_updater.pipeline.report import Secrets
    from image_updater.policy import CompiledPolicy


class Validity:
    """Compiled policies, kept while they are the same, and who asks for their images."""

    def __init__(self, secrets: Secrets, environment: Mapping[str, str], *, durable: bool, asks: bool) -> None:
        """`asks`: registries are asked (no tags file). `durable`: the store outlives the process."""
        self._secrets = secrets
        self._environment = environment
        self._durable = durable
        self._asks = asks
        self._compiled: dict[str, tuple[ImagePolicy, CompiledPolicy]] = {}

    def validate(self, policies: Iterable[ImagePolicy], *, secrets: Secrets | None = None) -> None:
        """Raises SpecErrors with all that is wrong with the policies."""
        errors: list[SpecError] = []
        for policy in policies:
            try:
                self.compile(policy)
                if self._asks:
                    self.source(policy, secrets)
                    _check_keys(policy, secrets or self._secrets)
            except SpecErrors as error:
                errors += error.errors
            except SpecError as error:
                errors.append(error)
        if errors:
            raise SpecErrors(errors)

    def check(self, objects: Objects, *, git: bool = True) -> None:
        """`validate` for whole objects with their own secrets, and what their references lead to. Raises SpecErrors.

        `git=False`: no GitRepository will be contacted.
        """
        secrets = self._secrets
        if isinstance(secrets, CurrentSecrets):
            secrets = secrets.of(objects.secrets)
        errors = list(check_references(objects, secrets, registry=self._asks, git=git))
        missing = {(error.where.object, error.where.field) for error in errors}
        try:
            self.validate(objects.policies, secrets=secrets)
        except SpecErrors as error:
            errors += [each for each in error.errors if (each.where.object, f"{each.where.field}.name") not in missing]
        errors += check_groups(objects)
        if errors:
            raise SpecErrors(sorted(errors, key=lambda error: (error.where.file or "", error.where.line or 0)))

    def compile(self, policy: ImagePolicy) -> CompiledPolicy:
        """The policy's strategy and filters, kept while it is the same. Raises SpecError."""
        name = policy_name(policy)
        known = self._compiled.get(name)
        if known is not None and known[0] == policy:
            return known[1]
        strategy = policy.strategy
        if isinstance(strategy, NewestPolicy) and strategy.by is NewestBy.FIRST_SEEN and not self._durable:
            place = policy.meta.source.where
            raise SpecError(
                "firstSeen needs to remember when tags were first seen, and this run has no state",
                where=place("spec.policy.newest.by") if place else Where(field="spec.policy.newest.by"),
                remedy="give --state FILE, or use by: created",
            )
        compiled = policies_room.compile(policy)
        self._compiled[name] = (policy, compiled)
        return compiled

    def source(self, policy: ImagePolicy, secrets: Secrets | None = None) -> Source:
        """Where the policy's image is and who asks. Raises SpecError for a secret that is missing or unusable."""
        from image_updater.registry import access_for

        access = access_for(policy, secrets or self._secrets, self._environment)
        return Source(image=parse_name(policy.image), access=access, identity=access.identity)

    def forget(self, name: str) -> None:
        """This policy is no more."""
        self._compiled.pop(name, None)


def _check_keys(policy: ImagePolicy, secrets: Secrets) -> None:
    """Raises SpecError for a Secret of `verify` whose public keys cannot be used."""
    verify = policy.verify
    name = verify.secret_ref if verify is not None else None
    secret = secrets(ObjectKey(policy.key.namespace, name)) if name is not None else None
    if secret is None:
        # A missing one is told as a reference that leads nowhere.
        return
    from image_updater.signatures import keys

    try:
        keys.load(secret.data, f"Secret {secret.meta.key}")
    except SpecError as error:
        field = "spec.verify.secretRef"
        place = policy.meta.source.where
        at = place(field) if place is not None else Where(object=f"ImagePolicy {policy.key}", field=field)
        raise SpecError(error.message, where=at, remedy=error.remedy) from error
