"""What is wrong with a pod, and whose failure that can be: read from its status alone.

A sign is `strong` where it proves by itself that a container of the template's own cannot run as it is: an exit code, a
crash loop, a manifest that the registry does not know. A container that runs and does not get ready is a weak one: it
may wait for something else. What the node, the scheduler, the registry or a volume did is the environment's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from image_updater.sync.health.reading import conditions, items, mapping, number, text
from image_updater.sync.rollout.model import Culprit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Set

    from image_updater.cluster.model import Body

CRASHES: Final = 3
"""Restarts that are a crash loop whatever else is seen (the kubelet waits 10 s, then 20 s, between them)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """One thing that is wrong. Equal names are one sign, whichever pod shows it, and however often."""

    name: str
    """Of the trouble, and its container: `pull web`."""
    reason: str
    """For people, without counts: it does not move while the trouble is the same."""
    culprit: Culprit
    container: str = ""
    strong: bool = False
    """Proves what it says, whatever other pods do."""
    early: bool = False
    """Does not mend itself: is a failure before any deadline once it has stood for SETTLE."""
    at_once: bool = False
    """Has stood long enough already."""


def signs_of(pod: Body, own: Set[str], pulls: Mapping[str, Sign] | None = None) -> tuple[Sign, ...]:
    """Of a pod that is to be ready. `own` are the containers of the template: what was injected is not the tag's.
    `pulls` are what was said of each container's image before: `ImagePullBackOff` may not repeat the error.
    """
    if is_going(pod):
        return ()
    node = _of_node(pod)
    if node is not None:
        return (node,)
    status = mapping(pod, "status")
    if text(status, "phase") == "Succeeded" or is_ready(pod):
        return ()
    found = [sign for container in _containers(pod) for sign in _of_container(container, own, pulls or {})]
    if found:
        return tuple(found)
    return tuple(_of_pod(pod))


def pulls_of(pods: Iterable[Body], before: Mapping[str, Sign]) -> dict[str, Sign]:
    """What was said last of why each container's image is not pulled; of those that are pulled, nothing."""
    found: dict[str, Sign] = {}
    for pod in pods:
        for container in () if is_going(pod) else _containers(pod):
            waiting, name = mapping(container, "state", "waiting"), text(container, "name")
            if text(waiting, "reason") in _PULLS:
                sign = pull(name, text(waiting, "message"))
                known = before.get(name, sign) if sign.culprit is Culprit.UNKNOWN else sign
                found[name] = known
    return found


def is_ready(pod: Body) -> bool:
    ready = conditions(pod).get("Ready")
    return ready is not None and ready.true and not is_going(pod)


def is_over(pod: Body) -> bool:
    """It counts no more: another one takes its place."""
    return is_going(pod) or text(mapping(pod, "status"), "phase") in ("Succeeded", "Failed")


def is_going(pod: Body) -> bool:
    """It is being deleted: what it shows now is no sign of anything."""
    return bool(mapping(pod, "metadata").get("deletionTimestamp"))


# ------------------------------------------------------------------------------------------- node and scheduler

_EVICTED: Final = frozenset(
    {
        "Evicted",
        "NodeAffinity",
        "NodeLost",
        "NodeShutdown",
        "OutOfcpu",
        "OutOfmemory",
        "OutOfpods",
        "Preempting",
        "Shutdown",
        "Terminated",
        "UnexpectedAdmissionError",
    }
)
"""Reasons of a pod's own status (Kubernetes, kubelet and node lifecycle): the node ended it, or did not take it."""


def _environment(name: str, reason: str) -> Sign:
    return Sign(name=name, reason=reason, culprit=Culprit.ENVIRONMENT)


def _of_node(pod: Body) -> Sign | None:
    status, said = mapping(pod, "status"), conditions(pod)
    target = said.get("DisruptionTarget")
    if target is not None and target.true:
        return _environment("evicted", f"it was evicted ({target.reason or 'DisruptionTarget'})")
    if text(status, "reason") in _EVICTED:
        return _environment("evicted", f"its node ended it ({text(status, 'reason')})")
    ready, containers = said.get("Ready"), said.get("ContainersReady")
    if (
        # The node controller takes Ready from the pods of a node that is silent, and touches nothing else.
        ready is not None and not ready.true and containers is not None and containers.true and not _gates(pod)
    ):
        return _environment("node", "its node says nothing any more")
    return None


def _gates(pod: Body) -> list[str]:
    """Readiness gates that are not open."""
    said = conditions(pod)
    names = [text(each, "conditionType") for each in items(mapping(pod, "spec"), "readinessGates")]
    return [name for name in names if name not in said or not said[name].true]


def _of_pod(pod: Body) -> Iterator[Sign]:
    status, said = mapping(pod, "status"), conditions(pod)
    scheduled = said.get("PodScheduled")
    if scheduled is not None and not scheduled.true:
        yield _environment("scheduling", f"a pod cannot be scheduled: {scheduled.words or 'Unschedulable'}")
    elif scheduled is None and not text(mapping(pod, "spec"), "nodeName"):
        yield _environment("scheduling", "nobody has scheduled a pod yet")
    elif gates := _gates(pod):
        # Load balancers and meshes open them.
        yield Sign(
            name="gates",
            reason=f"a readiness gate is not open: {', '.join(gates)}",
            culprit=Culprit.UNKNOWN,
        )
    elif text(status, "phase") in ("", "Pending"):
        # Volumes, the network and the sandbox come before the first container.
        yield _environment("starting", "the node has not made a pod's containers (volumes, network, a slow pull)")


# ------------------------------------------------------------------------------------------- the containers'


def _containers(pod: Body) -> Iterator[Mapping[str, Any]]:
    status = mapping(pod, "status")
    yield from items(status, "initContainerStatuses")
    yield from items(status, "containerStatuses")


def _of_container(status: Mapping[str, Any], own: Set[str], pulls: Mapping[str, Sign]) -> Iterator[Sign]:
    name = text(status, "name")
    waiting = mapping(status, "state", "waiting")
    ended = mapping(status, "state", "terminated")
    if status.get("ready") is True or (ended and number(ended, "exitCode") == 0):
        return
    sign = (
        _of_waiting(name, waiting, status, pulls)
        or _of_end(name, status)
        or (_unready(name) if mapping(status, "state", "running") else None)
    )
    if sign is None:
        return
    if sign.culprit is Culprit.TAG and name not in own:
        reason = f"{sign.reason} (it is no container of the template: something injected it)"
        sign = _environment(sign.name, reason)
    yield sign


def _unready(name: str) -> Sign:
    return Sign(
        name=f"unready {name}", reason=f"container {name} runs and is not ready", culprit=Culprit.TAG, container=name
    )


_PULLS: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError"})


def _of_waiting(
    name: str, waiting: Mapping[str, Any], status: Mapping[str, Any], pulls: Mapping[str, Sign]
) -> Sign | None:
    reason, message = text(waiting, "reason"), text(waiting, "message").strip()
    match reason:
        case "":
            return None
        case _ if reason in _PULLS:
            sign = pull(name, message)
            return pulls.get(name, sign) if sign.culprit is Culprit.UNKNOWN else sign
        case "InvalidImageName":
            # Tags that we write are tags: it is what stands beside them.
            words = f"container {name}: its image is no image reference"
            return Sign(
                name=f"name {name}", reason=words, culprit=Culprit.UNKNOWN, container=name, strong=True, early=True
            )
        case "ErrImageNeverPull":
            return _environment(f"pull {name}", f"container {name}: its image is not on the node, and never pulled")
        case "CreateContainerConfigError":
            if _RUN_AS.search(message):
                return _broken(name, f"container {name}: {_first(message)}")
            return _environment(f"config {name}", f"container {name}: {_first(message) or reason}")
        case "CreateContainerError" | "RunContainerError" | "PreCreateHookError" | "PreStartHookError":
            if _CANNOT_RUN.search(message):
                return _broken(name, f"container {name} cannot be started: {_first(message)}")
            words = f"container {name} is not created: {_first(message) or reason}"
            return Sign(name=f"create {name}", reason=words, culprit=Culprit.UNKNOWN, container=name)
        case "PostStartHookError":
            return _broken(name, f"container {name}: its postStart hook fails")
        case _:
            return None


def _broken(name: str, reason: str, *, at_once: bool = False) -> Sign:
    return Sign(
        name=f"crash {name}",
        reason=reason,
        culprit=Culprit.TAG,
        container=name,
        strong=True,
        early=True,
        at_once=at_once,
    )


def _of_end(name: str, status: Mapping[str, Any]) -> Sign | None:
    """It has ended, or ends again and again. One restart is no failure: it is a sign from the second on, but in a pod
    that is not restarted.
    """
    restarts = number(status, "restartCount")
    looping = text(mapping(status, "state", "waiting"), "reason") == "CrashLoopBackOff"
    now = mapping(status, "state", "terminated")
    last = now or mapping(status, "lastState", "terminated")
    if not looping and not now and restarts == 0:
        return None
    why = text(last, "reason")
    if why == "ContainerStatusUnknown":
        return _environment("node", "its node does not know what became of a container")
    if why in ("StartError", "ContainerCannotRun"):
        message = text(last, "message")
        if not _CANNOT_RUN.search(message):
            words = f"container {name} is not started: {_first(message) or why}"
            return Sign(name=f"create {name}", reason=words, culprit=Culprit.UNKNOWN, container=name)
        return _broken(name, f"container {name} cannot be started: {_first(message)}", at_once=restarts >= CRASHES)
    how = "is out of memory (OOMKilled)" if why == "OOMKilled" else f"ends with exit code {number(last, 'exitCode')}"
    words = f"container {name} {how}" + (" again and again" if looping or restarts > 1 else "")
    sign = _broken(name, words, at_once=restarts >= CRASHES)
    if restarts < 2 and not now:
        # Told, and waited for: the deadline counts, not SETTLE.
        return Sign(name=sign.name, reason=words, culprit=Culprit.TAG, container=name, strong=True)
    return sign


def ended(pod: Body, own: Set[str]) -> tuple[Sign, ...]:
    """Of a pod that failed for good (a Job's): what proves whose failure it is."""
    node = _of_node(pod)
    if node is not None:
        return (node,)
    signs = tuple(sign for container in _containers(pod) for sign in _of_container(container, own, {}))
    return signs or tuple(_of_pod(pod))


# ------------------------------------------------------------------------------------------- what messages say

_ABSENT: Final = re.compile(
    r"manifest unknown|manifest_unknown|manifest for .* not found|code = NotFound|: not found\b|"
    r"name unknown|name_unknown|repository does not exist|no matching manifest|no match for platform",
    re.IGNORECASE,
)
"""Of registries and runtimes (containerd, CRI-O, Docker): the registry has answered, and has no such image."""

_OUTAGE: Final = re.compile(
    r"\b(429|5\d\d)\b|too many requests|toomanyrequests|rate limit|timeout|timed out|deadline exceeded|"
    r"connection (refused|reset)|no such host|no route to host|network is unreachable|i/o timeout|"
    r"server misbehaving|temporary failure|\bEOF\b|tls:|x509:|certificate|"
    r"\b40[13]\b|unauthorized|forbidden|denied|authentication required|authorization failed|no basic auth|"
    r"no space left|content digest|failed commit|context canceled",
    re.IGNORECASE,
)
"""The registry, the way to it, the login or the node's disk."""

_CANNOT_RUN: Final = re.compile(
    r"executable file not found|exec format error|no such file or directory|permission denied|no command specified",
    re.IGNORECASE,
)
"""The image does not hold what it is to run, or not for this platform."""

_RUN_AS: Final = re.compile(r"image will run as root|image has non-numeric user", re.IGNORECASE)
_WORDS: Final = 200


def pull(name: str, message: str) -> Sign:
    """Why an image is not pulled. An outage is looked for first: `not found` may be a host's."""
    words = f"container {name}: its image is not pulled"
    if outage := _OUTAGE.search(_without_image(message)):
        # Only the word: the rest holds ports and times that move with each try.
        return _environment(f"pull {name}", f"{words}, the registry or the way to it fails: {outage[0].lower()}")
    if _ABSENT.search(message):
        return Sign(
            name=f"pull {name}",
            reason=f"container {name}: the registry has no such image, or none for this platform",
            culprit=Culprit.TAG,
            container=name,
            strong=True,
            early=True,
        )
    return Sign(name=f"pull {name}", reason=words, culprit=Culprit.UNKNOWN, container=name)


def _without_image(message: str) -> str:
    """Without what is quoted, and without references and addresses: a tag may be called `500`."""
    bare = re.sub(r'"[^"]*"', "", message.replace('\\"', '"'))
    return re.sub(r"\S*[/@]\S*|\S+:\d\S*", "", bare)


def _first(message: str) -> str:
    line = message.strip().partition("\n")[0]
    return line if len(line) <= _WORDS else line[: _WORDS - 1] + "…"
