"""Which tags are proven in which environment, and how long they took: milestones, status, and the file in Git.

Proven is a tag while every workload of its policy in a Kustomization is healthy with it, as far as anybody judges them.
What was proven first keeps its date; a failure later withdraws it. All of it can be read back from status.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from image_updater.api.model import ObjectKey
from image_updater.controller.loop import status as loopstatus
from image_updater.controller.status import Happening
from image_updater.controller.update.inputs import POLICY
from image_updater.errors import DocumentError
from image_updater.pipeline import provenfile
from image_updater.pipeline.answers.outcome import ANNOTATION
from image_updater.pipeline.people.standing import proven_of
from image_updater.pipeline.rollback.evidence import Note
from image_updater.pipeline.rollback.placements import Value
from image_updater.pipeline.rollback.reverting import PAUSES
from image_updater.pipeline.tasks import Tasks
from image_updater.policy.situation import Proven
from image_updater.store.model import EVERYWHERE, Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from image_updater.api.model import ImageUpdateAutomation
    from image_updater.controller.cache import Entry
    from image_updater.controller.context import Context
    from image_updater.controller.loop.metrics import LoopMetrics
    from image_updater.controller.update.saying import Saying
    from image_updater.pipeline.answers.situations import Situations
    from image_updater.pipeline.report import AutomationReport
    from image_updater.pipeline.rollback.evidence import Ground, Noting
    from image_updater.store.model import Milestone

log = logging.getLogger("image_updater.controller")

_CUT: Final = 60


class Proving:
    """See the module. Used from one event loop."""

    def __init__(
        self,
        context: Context,
        saying: Saying,
        situations: Situations,
        metrics: LoopMetrics,
        *,
        entry: Callable[[str], Entry | None],
        automations: Callable[[str], Iterable[ImageUpdateAutomation]],
        note: Callable[[ObjectKey, Noting], Awaitable[AutomationReport]],
    ) -> None:
        """`entry`: the object of a policy that is ours to write. `automations`: those that keep a file of what this
        policy has proven. `note` writes it.
        """
        self._context = context
        self._saying = saying
        self._situations = situations
        self._metrics = metrics
        self._entry = entry
        self._automations = automations
        self._note = note
        self._store = context.session.store
        self._noting: dict[ObjectKey, bool] = {}
        """Automations whose file is being written; True: once more, it has changed meanwhile."""
        self._foreign: set[str] = set()
        """Policies of other shards that this was said of."""
        self._tasks = Tasks()

    async def close(self) -> None:
        await self._tasks.stop()

    def of(self, policy: str) -> tuple[Proven, ...]:
        return self._situations.proven_by(policy)

    def restore(self, policy: str) -> None:
        """What the policy's status says from before, else the store."""
        entry = self._entry(policy)
        known = proven_of(self._context.status.current(entry)) if entry is not None else ()
        if known := known or self._store.proven(policy):
            self._situations.proven(policy, known)

    def applies(self, policy: str) -> None:
        """Something here applies it: that it has proven nothing is an answer, too. Of another shard's policy what
        becomes of its tags is kept in Git alone.
        """
        namespace, _, name = policy.partition("/")
        entry = self._context.cache.get(POLICY, ObjectKey(namespace, name))
        if policy not in self._foreign and entry is not None and not self._context.owns(entry):
            self._foreign.add(policy)
            log.warning(
                "ImagePolicy %s is another shard's: what is proven of it, its holds after a failure and its rollbacks"
                " stand in no status; give it the labels of its automation",
                policy,
            )
        self._situations.proven(policy, self._situations.proven_by(policy))

    # ------------------------------------------------------------------------------------------- what is seen

    def applied(self, policy: str, environment: ObjectKey, value: Value, revision: str) -> None:
        if value.tag is not None:
            self._milestone(policy, environment, value, Stage.APPLIED, revision)

    def healthy(self, policy: str, environment: ObjectKey, value: Value, revision: str, *, anew: bool) -> None:
        """Every workload of this policy in that Kustomization is healthy with it. `anew`: a rollout has just ended."""
        if value.tag is None:
            return
        name = str(environment)
        before = self._situations.proven_by(policy)
        known = next((each for each in before if each.environment == name and _is(each, value)), None)
        if known is not None and known.withdrawn is None and not (anew and known.revision != (revision or None)):
            return  # asked with each look at everything: nothing is read for it
        digest = value.digest or self.digest_of(policy, value)
        new = Proven(
            tag=value.tag, at=self._context.clock(), digest=digest, environment=name, revision=revision or None
        )
        proven = loopstatus.with_healthy(before, new)
        if proven == before:
            return
        first = known is None or known.withdrawn is not None
        self._situations.proven(policy, proven)
        fields = loopstatus.proven_fields(proven)
        happened = []
        if first:
            self._milestone(policy, environment, value, Stage.APPLIED, revision)
            self._milestone(policy, environment, value, Stage.HEALTHY, revision)
            self._metrics.proven.inc()
            milestones = self._store.milestones(policy)
            fields |= loopstatus.lead_times(milestones)
            found = _find(milestones, name, value)
            if found is not None:
                self._metrics.healthy(found)
            happened.append(
                Happening(reason="RolloutHealthy", message=f"{value} is healthy in Kustomization {name}: proven")
            )
        self._write(policy, fields, happened)
        self._write_files(policy)

    def failed(self, policy: str, environment: ObjectKey, value: Value) -> None:
        """Its rollout failed there, and nothing says that it is the environment's fault."""
        now, before = self._context.clock(), self._situations.proven_by(policy)
        proven = loopstatus.with_failed(before, str(environment), value, now)
        known = _find(self._store.milestones(policy), str(environment), value)
        anew = known is None or known.failed is None or (known.healthy is not None and known.failed < known.healthy)
        if anew:
            self._milestone(policy, environment, value, Stage.FAILED, None)
        if proven == before:
            if anew:  # it never was: `history` shows it all the same
                self._write(policy, loopstatus.lead_times(self._store.milestones(policy)), [])
            return
        self._situations.proven(policy, proven)
        self._metrics.withdrawn.inc()
        fields = loopstatus.proven_fields(proven) | loopstatus.lead_times(self._store.milestones(policy))
        text = f"{value} has failed in Kustomization {environment}, and counts as proven there no more"
        self._write(policy, fields, [Happening(reason="ProofWithdrawn", message=text, warning=True)])
        self._write_files(policy)

    def _milestone(self, policy: str, environment: ObjectKey, value: Value, stage: Stage, revision: str | None) -> None:
        assert value.tag is not None
        digest = value.digest or self.digest_of(policy, value)
        self._store.note_milestone(
            policy, str(environment), value.tag, digest, stage, self._context.clock(), revision=revision or None
        )

    def digest_of(self, policy: str, value: Value) -> str | None:
        """The bytes that the tag had when it was chosen: a later look may see other ones."""
        return next(
            (
                each.digest
                for each in self._store.milestones(policy)
                if each.tag == value.tag and each.digest and (each.environment == EVERYWHERE or each.commit)
            ),
            None,
        )

    def _write(self, policy: str, fields: dict[str, object], happened: list[Happening]) -> None:
        entry = self._entry(policy)
        if entry is not None:
            self._saying.amend(entry, fields, *happened)
        for each in happened:
            log.log(logging.WARNING if each.warning else logging.INFO, "%s: %s", policy, each.message)

    # ------------------------------------------------------------------------------------------- in Git

    def _write_files(self, policy: str) -> None:
        if policy.startswith(ANNOTATION):
            return
        for automation in self._automations(policy):
            if automation.key in self._noting:
                self._noting[automation.key] = True
                continue
            self._noting[automation.key] = False
            self._tasks.start(self._keep(automation.key), then=partial(self._written, automation.key))

    def _written(self, automation: ObjectKey) -> None:
        self._noting.pop(automation, None)

    async def _keep(self, automation: ObjectKey) -> None:
        tries = 0
        while True:
            self._noting[automation] = False
            report = await self._note(automation, self._noted)
            if report.error is None:
                tries = 0
                if not self._noting[automation]:
                    return
                continue
            log.warning("%s: what is proven cannot be noted in Git: %s", automation, report.error)
            if isinstance(report.error, DocumentError):
                return  # a person has to mend the file; the next proven tag tries again
            await self._context.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1

    async def _noted(self, ground: Ground) -> Note | None:
        path = ground.automation.proven_file
        if path is None:
            return None
        try:
            data = ground.tree.read(path)
        except KeyError:
            data = b""
        mine = {str(each.key): self._situations.proven_by(str(each.key)) for each in ground.policies(ground.automation)}
        mine = {name: proven for name, proven in mine.items() if proven}
        environments = {each.environment for proven in mine.values() for each in proven}
        new = provenfile.write(provenfile.read(data, path), mine, environments=environments)
        if new == data or (not mine and not data):
            return None
        every = ((each.withdrawn or each.at, name, each) for name, proven in mine.items() for each in proven)
        _, name, last = max(every, key=lambda item: item[0])
        verb = "withdrawn" if last.withdrawn is not None else "proven"
        said = f"{name} {last.tag}"
        return Note(files={path: new}, subject=f"Note what is proven: {said[:_CUT]} is {verb}")


def policy_entry(context: Context, policy: str) -> Entry | None:
    """The object of a policy, if it has one and it is ours."""
    namespace, _, name = policy.partition("/")
    entry = context.cache.get(POLICY, ObjectKey(namespace, name)) if not policy.startswith(ANNOTATION) else None
    return entry if entry is not None and not entry.deleting and context.owns(entry) else None


def _is(proven: Proven, value: Value) -> bool:
    return Value(proven.tag, proven.digest).is_of(value)


def _find(milestones: Iterable[Milestone], environment: str, value: Value) -> Milestone | None:
    return next(
        (each for each in milestones if each.environment == environment and Value(each.tag, each.digest).is_of(value)),
        None,
    )
