"""Definitions, namespaces, volumes, services, aggregated APIs, and the objects of GitOps controllers.

Deviations from kstatus: a Service of type LoadBalancer has an address, not only a cluster IP; a claim that lost its
volume has failed; an APIService answers; a Namespace is Active.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.sync.health.reading import (
    Verdict,
    conditions,
    current,
    failed,
    in_progress,
    items,
    mapping,
    terminating,
    text,
    unobserved,
)

if TYPE_CHECKING:
    from image_updater.cluster.model import Body


def definition(body: Body) -> Verdict:
    said = conditions(body)
    accepted, established = said.get("NamesAccepted"), said.get("Established")
    if accepted is not None and accepted.false:
        return failed(accepted.words)
    if established is not None and established.true:
        return current("it is established")
    if established is not None and established.false and established.reason != "Installing":
        return failed(established.words)
    return in_progress("it is not established yet")


def namespace(body: Body) -> Verdict:
    phase = text(mapping(body, "status"), "phase")
    if phase == "Terminating":
        return terminating()
    return current("it is active") if phase == "Active" else in_progress("it is not active yet")


def claim(body: Body) -> Verdict:
    phase = text(mapping(body, "status"), "phase")
    if phase == "Bound":
        return current("it is bound")
    if phase == "Lost":
        return failed("its volume is lost")
    return in_progress("no volume is bound to it (some storage classes wait for the first pod that uses it)")


def volume(body: Body) -> Verdict:
    phase = text(mapping(body, "status"), "phase")
    return failed(text(mapping(body, "status"), "message") or "it has failed") if phase == "Failed" else current(phase)


def service(body: Body) -> Verdict:
    spec = mapping(body, "spec")
    if text(spec, "type") != "LoadBalancer":
        return current()
    addresses = [
        text(entry, "ip") or text(entry, "hostname")
        for entry in items(mapping(body, "status", "loadBalancer"), "ingress")
    ]
    if not any(addresses):
        return in_progress("its load balancer has no address yet")
    return current(", ".join(address for address in addresses if address))


def api_service(body: Body) -> Verdict:
    available = conditions(body).get("Available")
    if available is None:
        return in_progress("it is not known to be available yet")
    return current("it is available") if available.true else in_progress(available.words)


def ready_object(body: Body) -> Verdict:
    """Ours and Flux's: the controller always writes conditions, so none means that it has not looked yet.

    A suspended object is what its spec asks for.
    """
    if mapping(body, "spec").get("suspend") is True:
        return current("it is suspended")
    if (unseen := unobserved(body, required=True)) is not None:
        return unseen
    return generic(body) if "Ready" in conditions(body) else in_progress("its controller has not looked at it yet")


def generic(body: Body) -> Verdict:
    """Any kind: the generation that was observed, then Stalled, Reconciling and Ready; none of them is current.

    `Available` is no part of it: kinds mean different things by it, and kstatus reads it of none that it does not
    know. A condition that tells its own observedGeneration (as Gateway API has it) counts only for that one.
    """
    if (unseen := unobserved(body)) is not None:
        return unseen
    said = conditions(body)
    generation = mapping(body, "metadata").get("generation")
    if "Stalled" in said and said["Stalled"].true:
        return failed(said["Stalled"].words)
    if "Reconciling" in said and said["Reconciling"].true:
        return in_progress(said["Reconciling"].words)
    ready = said.get("Ready")
    if ready is None:
        return current()
    if isinstance(generation, int) and 0 <= ready.generation < generation:
        return in_progress(f"its condition Ready is of generation {ready.generation}, not yet {generation}")
    return current(ready.words) if ready.true else in_progress(ready.words or f"Ready is {ready.status or 'Unknown'}")
