"""The image half of the controller: ImagePolicies and ImageUpdateAutomations run the daemon of `image-updater run`.

Objects come from the cache instead of from files, answers and runs go into status instead of only into the log. Nothing
is decided here. What must outlive the process stands in status and in Git: the last pushed commit, since when an image
is chosen, which request was handled.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from image_updater.api.model import ImagePolicy, ImageUpdateAutomation, ObjectKey
from image_updater.api.moments import format_rfc3339
from image_updater.controller.loop import status as loopstatus
from image_updater.controller.loop.gatekeeping import Gatekeeper, Knowledge
from image_updater.controller.loop.loop import Loop
from image_updater.controller.status import Decision, suspended
from image_updater.controller.update import asked, automationstatus, policystatus
from image_updater.controller.update.fencing import fence
from image_updater.controller.update.gateinputs import GateInputs
from image_updater.controller.update.gatestatus import leading
from image_updater.controller.update.holding import Holds, of_automation
from image_updater.controller.update.inputs import AUTOMATION, POLICY, REPOSITORY, ClusterObjects
from image_updater.controller.update.pullsecrets import RENEWED, PullSecrets
from image_updater.controller.update.saying import Saying
from image_updater.errors import AccessDenied, ImageUpdaterError, Waiting
from image_updater.pipeline.answers.opening import open_client
from image_updater.pipeline.answers.outcome import ANNOTATION
from image_updater.pipeline.answers.selection import Selector
from image_updater.pipeline.daemon.branches import SourceNotFound
from image_updater.pipeline.daemon.daemon import Daemon
from image_updater.pipeline.tasks import Tasks
from image_updater.pipeline.update import update

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from image_updater.controller.cache import Changed, Entry
    from image_updater.controller.context import Context
    from image_updater.controller.rollouts import Rollouts
    from image_updater.controller.status import Ready
    from image_updater.pipeline.answers.listing import Registry
    from image_updater.pipeline.answers.outcome import Outcome
    from image_updater.pipeline.daemon.branches import Branch
    from image_updater.pipeline.report import CommitReport, UpdateReport, UpdateRequest
    from image_updater.pipeline.rollback.placements import Placement
    from image_updater.pipeline.rollback.reverting import Answer
    from image_updater.policy.model import Verdict

log = logging.getLogger("image_updater.controller")

GRACE: Final = 2.0
"""Seconds that a new automation waits for its GitRepository before it says that there is none."""

MANY: Final = 2_000
"""Tags from which on the verdicts of a list are made beside the event loop."""

_PROXIES: Final = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "ALL_PROXY")
_CLOUDS: Final = ("AWS_", "AZURE_", "GOOGLE_", "GCE_", "IDENTITY_")


class Updating:
    """`await run(stop)` until `stop` is set. The daemon's `Observer`."""

    def __init__(
        self,
        context: Context,
        *,
        leads: Callable[[float], bool] = lambda _: True,
        pushed: Callable[[str, str, str], None] | None = None,
        apply: Callable[[UpdateRequest], Awaitable[UpdateReport]] = update,
        gatekeeper: Gatekeeper | None = None,
        rollouts: Rollouts | None = None,
    ) -> None:
        """`leads(seconds)`: is the Lease ours for that long? `pushed` is told URL, branch and commit of each push.
        `apply` is the line. `gatekeeper` answers Flagger's gates from what is known here. `rollouts`: what the sync
        half of this process judges.
        """
        self._context = context
        self._leads = leads
        self._pushed = pushed
        self._apply = apply
        self._gatekeeper = gatekeeper or Gatekeeper(cluster=lambda: context.cluster, clock=context.clock)
        # What the environment offers to a person at a terminal is not offered to everybody who may create an object:
        # no docker config, no SSH agent, no GIT_PASSWORD. A cloud's login is the pod's, for policies that ask for it.
        self._proxies = {name: value for name, value in context.environment.items() if name.upper() in _PROXIES}
        self._clouds = {name: value for name, value in context.environment.items() if name.startswith(_CLOUDS)}
        self._pulls = PullSecrets(context)
        self._inputs = ClusterObjects(context, self._pulls, self._adopted)
        self._saying = Saying(context.status)
        self._ran: dict[ObjectKey, ImageUpdateAutomation] = {}
        """Automations as they were when status was last written after a run."""
        self._patient: set[str] = set()
        """By uid the automations whose source has been waited for."""
        self._handling: dict[tuple[str, ObjectKey], str] = {}
        """Requests under way, by object."""
        self._long: dict[ObjectKey, asyncio.Task[None]] = {}
        self._tasks = Tasks()
        self._daemon: Daemon | None = None
        self._holds = Holds(context, self._saying, self._inputs.writers)
        self._selector: Selector | None = None
        self._rollouts = rollouts
        self._loop: Loop | None = None

    # ------------------------------------------------------------------------------------------------- life

    async def run(self, stop: asyncio.Event, registry: Registry | None = None) -> None:
        """Work until `stop`; then let a push under way finish. `registry`: instead of a client of our own."""
        context = self._context
        if registry is not None:
            await self._work(stop, registry)
            return
        async with open_client(context.settings, context.clock) as client:
            await self._work(stop, client)

    async def _work(self, stop: asyncio.Event, registry: Registry) -> None:
        context = self._context
        selector = self._selector = Selector(
            store=context.session.store,
            secrets=context.secrets,
            environment={**self._proxies, **self._clouds},
            clock=context.clock,
            registry=registry,
            durable=True,
            at_once=context.settings.concurrency,
            renew=self._pulls.renew,
        )
        context.secrets.subscribe(self._secrets_changed)
        leases = fence(context, self._leads)
        gates = GateInputs(context, selector)
        loop = self._loop = Loop(
            context, saying=self._saying, selector=selector, rollouts=self._rollouts, daemon=lambda: self._daemon
        )
        background = [asyncio.create_task(work) for work in (self._pulls.run(), gates.run(), loop.run())]
        try:
            objects = await self._inputs.first()
            gates.remember()
            loop.remember()
            self._daemon = daemon = Daemon(
                source=self._inputs,
                objects=objects,
                selector=selector,
                secrets=context.secrets,
                settings=context.settings,
                environment=self._proxies,
                metrics=context.metrics,
                clock=context.clock,
                monotonic=context.monotonic,
                dice=context.dice,
                session=context.session,
                apply=self._apply,
                observer=self,
                pulls=self._pulls.resolve,
                busy=loop.busy,
            )
            self._holds.known = daemon.holding
            context.metrics.watch(
                registry=getattr(registry, "metrics", None),
                tags_seen=lambda: selector.tags_seen,
                facts_fetched=lambda: selector.fetched,
                states=daemon.states,
                undeployed=daemon.undeployed,
                holds=daemon.holding.count,
            )
            self._gatekeeper.begin(Knowledge.of(daemon, selector))
            await daemon.run(stop)
        finally:
            self._gatekeeper.end()
            self._inputs.close()
            for task in (*background, *self._tasks):
                task.cancel()
            await loop.close()
            await self._tasks.end()
            await asyncio.gather(*background, return_exceptions=True)
            if leases is not None:
                await leases.close()

    # ------------------------------------------------------------------------------------------------- from outside

    def hint(self, image: str, tag: str | None = None) -> bool:
        """As `Daemon.hint`: somebody says that an image got a tag."""
        return self._daemon is not None and self._daemon.hint(image, tag)

    def moved(self, repository: ObjectKey) -> None:
        """A GitRepository has a new commit."""
        if self._daemon is not None:
            self._daemon.moved(repository)

    def health(self) -> Mapping[str, object]:
        return self._daemon.health()[1] if self._daemon is not None else {"status": "waiting"}

    def decided(self) -> bool:
        """Every policy has an answer, or a reason why there is none."""
        return self._daemon is not None and self._daemon.ready()

    def _secrets_changed(self, keys: frozenset[ObjectKey]) -> None:
        policies, repositories = self._inputs.users(keys)
        if self._daemon is not None and (policies or repositories):
            self._tasks.start(self._daemon.secrets_changed(policies, repositories))

    # ------------------------------------------------------------------------------------------------- objects

    def _adopted(self, changed: Changed) -> None:
        """The daemon works on these now: say what needs no work, and begin what was asked for."""
        cache = self._context.cache
        touched = {place for place in changed if place[0] in (POLICY, AUTOMATION)}
        repositories = {key for kind, key in changed if kind == REPOSITORY}
        if repositories:
            touched |= {
                (AUTOMATION, entry.key)
                for entry in cache.entries(AUTOMATION).values()
                if isinstance(entry.value, ImageUpdateAutomation) and entry.value.source_ref in repositories
            }
        for kind, key in sorted(touched):
            entry = cache.get(kind, key)
            if entry is None or entry.deleting:
                self._forget(kind, key)
            elif self._context.owns(entry):
                self._look(entry)

    def _forget(self, kind: str, key: ObjectKey) -> None:
        uid = self._saying.forget(kind, key)
        if uid is not None:
            self._patient.discard(uid)
        self._ran.pop(key, None)
        task = self._long.pop(key, None) if kind == POLICY else None
        if task is not None:
            task.cancel()

    def _look(self, entry: Entry) -> None:
        """What can be said of this object without any work; else, the work that was asked for."""
        ready, error = self._standing(entry)
        if isinstance(error, SourceNotFound) and entry.uid not in self._patient:
            self._patient.add(entry.uid)
            if not self._context.status.current(entry):
                self._tasks.start(self._look_later(entry.place))
                return
        if ready is not None:
            self._saying.write(
                entry, Decision(ready=ready, fields=self._saying.fields(entry), handled=entry.requested), error
            )
            return
        self._restate(entry)
        handled = self._context.status.current(entry).get("lastHandledReconcileAt")
        if entry.requested is not None and entry.requested not in (handled, self._handling.get(entry.place)):
            self._handling[entry.place] = entry.requested
            self._tasks.start(self._handle(entry, entry.requested))

    async def _look_later(self, place: tuple[str, ObjectKey]) -> None:
        """Objects of one file are made one after the other: what refers to the next one waits a moment for it."""
        await self._context.sleep(GRACE)
        entry = self._context.cache.get(*place)
        if entry is not None and not entry.deleting and self._context.owns(entry):
            self._look(entry)

    def _standing(self, entry: Entry) -> tuple[Ready | None, ImageUpdaterError | None]:
        """Why nothing is done for this object; (None, None) when it is worked on."""
        if entry.error is not None:
            return policystatus.failed(entry.error), entry.error
        value = entry.value
        assert isinstance(value, ImagePolicy | ImageUpdateAutomation)
        status = self._context.status.current(entry)
        if value.suspend:
            return suspended(status, policystatus.SUSPENDED), None
        if isinstance(value, ImageUpdateAutomation):
            error = self._inputs.blocked.get(entry.key)
            if error is not None:
                return policystatus.failed(error), error
            source = self._context.cache.get(REPOSITORY, value.source_ref) if value.source_ref is not None else None
            if source is not None and source.value is not None and source.value.suspend:
                return suspended(status, f"GitRepository {source.key} is suspended"), None
        return None, None

    def _restate(self, entry: Entry) -> None:
        """An edit that changes nothing leads to no new answer: the old one is said of the new generation."""
        if self._context.status.current(entry).get("observedGeneration") == entry.generation:
            return
        said = self._saying.last(entry)
        if entry.kind == POLICY:
            answer = self._selector.answers.get(str(entry.key)) if self._selector is not None else None
            if answer is not None and self._answers(answer, entry):
                self._say(entry, answer)
        elif said is not None and entry.key in self._ran:
            if self._inputs.automation(entry.key) is not self._ran[entry.key]:
                return  # it was edited: a run follows
            self._saying.write(entry, said, None)

    async def _handle(self, entry: Entry, requested: str) -> None:
        """Somebody set the requestedAt annotation: work, then say that it was done."""
        place = entry.place
        assert self._daemon is not None
        try:
            if entry.kind == POLICY:
                await self._daemon.check(entry.key)
            else:
                await self._daemon.look(entry.key)
            await asyncio.sleep(0)
            if (long := self._long.get(entry.key)) is not None and entry.kind == POLICY:
                await asyncio.wait({long})
            now = self._context.cache.get(*place)
            said = self._saying.last(now) if now is not None else None
            if now is not None and said is not None:
                self._saying.write(now, replace(said, handled=requested, happened=()), None)
            elif now is not None:
                self._context.status.write(now, self._saying.repeat(now, requested))
        finally:
            if self._handling.get(place) == requested:
                del self._handling[place]

    # ------------------------------------------------------------------------------------------------- the observer

    def answered(self, outcomes: Mapping[str, Outcome]) -> None:
        for name, outcome in outcomes.items():
            if name.startswith(ANNOTATION):
                continue  # its automation's branch is run over, and says it
            entry = self._context.cache.get(POLICY, outcome.spec.key)
            if entry is not None and self._answers(outcome, entry):
                before = self._saying.fields(entry)
                self._say(entry, outcome)
                asked.say(self._saying, self._selector, entry, outcome, before)
                self._holds.say(entry)

    def _answers(self, outcome: Outcome, entry: Entry) -> bool:
        """Is it an answer for this object as it is now, and ours to say?"""
        if entry.deleting or not self._context.owns(entry) or not isinstance(entry.value, ImagePolicy):
            return False
        if entry.value.suspend or isinstance(outcome.error, Waiting):
            return False
        return outcome.spec == self._inputs.value(entry.key)

    def _say(self, entry: Entry, outcome: Outcome) -> None:
        listing = outcome.listing
        running = self._long.pop(entry.key, None)
        if running is not None:
            running.cancel()  # of an older answer
        status = self._context.status.current(entry)
        if policystatus.is_said(outcome, status, entry.generation):
            return
        if outcome.error is None and listing is not None and len(listing.answer.tags) > MANY:
            self._long[entry.key] = self._tasks.start(self._say_long(entry, outcome))
            return
        self._say_now(entry, outcome, leading(outcome, policystatus.BEST))

    async def _say_long(self, entry: Entry, outcome: Outcome) -> None:
        verdicts = await asyncio.to_thread(leading, outcome, policystatus.BEST)
        now = self._context.cache.get(POLICY, entry.key)
        if self._long.get(entry.key) is asyncio.current_task():
            del self._long[entry.key]
        if now is not None and self._answers(outcome, now):
            before = self._saying.fields(now)
            self._say_now(now, outcome, verdicts)
            asked.say(self._saying, self._selector, now, outcome, before)

    def _say_now(self, entry: Entry, outcome: Outcome, verdicts: Sequence[Verdict]) -> None:
        before = self._saying.fields(entry)
        assert self._selector is not None
        fields = policystatus.fields(
            outcome,
            before,
            verdicts=verdicts,
            first_seen=self._selector.first_seen(outcome),
            now=self._context.clock(),
        )
        self._saying.write(entry, Decision(ready=policystatus.ready(outcome), fields=fields), outcome.error)

    def updated(self, branch: Branch, report: UpdateReport | None, error: ImageUpdaterError | None) -> None:
        if report is not None:
            self._gatekeeper.ran(report, [each.key for each in branch.automations])
        assert self._selector is not None
        if report is not None and self._loop is not None:
            self._loop.ran(branch, report)
        for automation in branch.automations:
            entry = self._context.cache.get(AUTOMATION, automation.key)
            if entry is None or entry.deleting or not self._context.owns(entry):
                continue
            if self._inputs.automation(automation.key) is not automation:
                continue  # it was edited meanwhile: the next run says what comes of that
            before = self._saying.fields(entry)
            part = report.automations.get(str(automation.key)) if report is not None else None
            if part is not None:
                said = automationstatus.after_run(
                    part,
                    before,
                    branch=branch.branch,
                    answers=self._selector.answers,
                    now=self._context.clock(),
                    selects=any(
                        key.namespace == automation.key.namespace and automation.policy_selector.matches(policy.labels)
                        for key, policy in self._context.cache.entries(POLICY).items()
                    ),
                )
                fault = part.error
            elif error is not None:
                said, fault = automationstatus.after_failure(error, before), error
            else:
                continue  # suspended, or gone, while the run was on
            if isinstance(fault, AccessDenied):
                self._tasks.start(self._renew(branch.repository.key))
            self._ran[automation.key] = automation
            happened = (*said.happened, *(of_automation(part, before) if part is not None else ()))
            self._saying.write(entry, Decision(ready=said.ready, fields=said.fields, happened=happened), fault)
        self._holds.say_all()
        if report is not None and self._pushed is not None:
            for commit in report.commits:
                self._pushed(commit.repository, commit.branch, commit.commit)

    async def _renew(self, repository: ObjectKey) -> None:
        """Git refused the login: read its Secrets again; changed ones lead to another run."""
        await self._context.secrets.need(self._inputs.secrets(REPOSITORY, repository), fresh=RENEWED)

    def refused(self, automations: Mapping[ObjectKey, ImageUpdaterError]) -> None:
        for key, error in automations.items():
            entry = self._context.cache.get(AUTOMATION, key)
            if entry is not None and not entry.deleting and self._context.owns(entry):
                self._saying.write(
                    entry, Decision(ready=policystatus.failed(error), fields=self._saying.fields(entry)), error
                )

    def pushed(self, branch: Branch, automation: ObjectKey, commit: CommitReport) -> None:
        entry = self._context.cache.get(AUTOMATION, automation)
        if entry is not None and not entry.deleting and self._context.owns(entry):
            fields = {"lastPushCommit": commit.commit, "lastPushTime": format_rfc3339(self._context.clock())}
            self._saying.amend(entry, fields, automationstatus.pushed(commit))
        if self._pushed is not None:
            self._pushed(commit.repository, commit.branch, commit.commit)

    def reverted(self, answer: Answer) -> None:
        entry = self._context.cache.get(POLICY, answer.spec.key)
        if entry is not None and not entry.deleting and self._context.owns(entry):
            self._saying.amend(entry, *loopstatus.reverted(answer, self._saying.fields(entry)))

    def forbids(self, placed: Sequence[Placement]) -> str | None:
        return self._loop.promoting(placed) if self._loop is not None else None

    def handled(self, policy: str) -> datetime | None:
        namespace, _, name = policy.partition("/")
        entry = self._context.cache.get(POLICY, ObjectKey(namespace, name))
        return loopstatus.requested(self._context.status.current(entry)) if entry is not None else None
