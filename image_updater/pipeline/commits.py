"""From a proven run to a commit: the message, the signer, and whether a checkout can take it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.errors import SecretNotFound, SpecError
from image_updater.git.signing import signer_from_secret
from image_updater.pipeline.message import Message, compose, moves
from image_updater.render.template import render_template

if TYPE_CHECKING:
    from image_updater.api.model import ImageUpdateAutomation
    from image_updater.git import Checkout, Signer
    from image_updater.pipeline.line import Run
    from image_updater.pipeline.report import Secrets
    from image_updater.pipeline.rollback.decision import RollbackPlan
    from image_updater.pipeline.rollback.evidence import Note
    from image_updater.render import Renderer

FIELD = "spec.git.commit.messageTemplate"


async def message_for(
    result: Run, *, revision: str | None, renderer: Renderer | None, rollback: RollbackPlan | None = None
) -> Message:
    """The message of this run's commit; a rollback's is never a template's. Raises SpecError when the automation's
    template is invalid.
    """
    moved = moves(result.plan.decisions, result.choices)
    built = any(proof.level == "rendered" and proof.why for proof in result.proof.roots)
    proof = result.proof.summary(renderer.kustomize.description if renderer is not None and built else None)
    automation = result.automation
    text = None
    template = automation.commit.message_template if rollback is None else None
    if template is not None:
        values: dict[str, object] = {
            "automation": {"namespace": automation.key.namespace, "name": automation.key.name},
            "values": dict(automation.commit.message_template_values),
            "changes": [
                {
                    "policy": move.policy,
                    "image": move.image,
                    "old": list(move.old),
                    "new": move.new,
                    "digest": move.digest,
                    "reason": move.reason,
                }
                for move in moved
            ],
            "edits": [
                {
                    "file": edit.file,
                    "line": edit.line,
                    "field": edit.field,
                    "old": edit.old,
                    "new": edit.new,
                    "policy": edit.policy,
                    "kind": str(edit.kind),
                }
                for edit in result.edits
            ],
            "proof": proof,
            "revision": revision,
        }
        text = await template_text(automation, template, values)
    return compose(
        moved=moved,
        edits=sorted(result.edits, key=lambda edit: (edit.file, edit.start)),
        revision=revision,
        automation=str(automation.key),
        proof=proof,
        text=text,
        rollback=rollback,
    )


def note_message(note: Note, automation: ImageUpdateAutomation, *, revision: str) -> Message:
    """Of a commit that moves no image."""
    trailers = (("Source-Revision", revision), ("Automation", str(automation.key)))
    return Message(text=note.subject, trailers=trailers)


async def template_text(automation: ImageUpdateAutomation, template: str, values: dict[str, object]) -> str:
    """A rendered template; its error names the automation, its file and line."""
    try:
        return await render_template(template, values, field=FIELD)
    except SpecError as exc:
        source = automation.meta.source
        where = source.where(FIELD) if source.where is not None else None
        message = exc.message if where is None else exc.message.removeprefix(f"{FIELD}: ")
        raise SpecError(message, where=where or exc.where, remedy=exc.remedy) from exc


async def check_templates(automations: tuple[ImageUpdateAutomation, ...]) -> None:
    """Renders every template once on an example, so that an invalid one stops the run before anything is written."""
    example = {
        "policy": "ns/name",
        "image": "example/app",
        "old": ["1.0.0"],
        "new": "1.1.0",
        "digest": None,
        "reason": "an example",
    }
    edit = {
        "file": "app.yaml",
        "line": 1,
        "field": "image",
        "old": "example/app:1.0.0",
        "new": "example/app:1.1.0",
        "policy": "ns/name",
        "kind": "scalar",
    }
    for automation in automations:
        template = automation.commit.message_template
        if template is None or automation.suspend:
            continue
        values: dict[str, object] = {
            "automation": {"namespace": automation.key.namespace, "name": automation.key.name},
            "values": dict(automation.commit.message_template_values),
            "changes": [example],
            "edits": [edit],
            "proof": "rendered (1 root)",
            "revision": "main@sha1:0000000000000000000000000000000000000000",
        }
        await template_text(automation, template, values)


def signer_for(automation: ImageUpdateAutomation, secrets: Secrets) -> Signer | None:
    """The commit signer that the automation names. Raises SecretNotFound, and SpecError for one that is no key."""
    from image_updater.api.model import ObjectKey

    name = automation.commit.signing_key
    if name is None:
        return None
    key = ObjectKey(automation.key.namespace, name)
    secret = secrets(key)
    if secret is None:
        source = automation.meta.source
        field = "spec.git.commit.signingKey.secretRef"
        raise SecretNotFound(
            f"ImageUpdateAutomation {automation.key}: {field}: there is no Secret {key}",
            where=source.where(field) if source.where is not None else None,
            remedy=f"add it to the objects, or put it under --secrets DIR as DIR/{name}/<key>",
        )
    return signer_from_secret(secret)


def committable(checkout: Checkout, *, push: bool) -> None:
    """Raises SpecError when this checkout cannot take a commit (no branch), or cannot push it."""
    if checkout.branch is None:
        raise SpecError(
            f"{checkout.root}: HEAD is detached, a commit there would belong to no branch", remedy="git switch BRANCH"
        )
    if push:
        checkout.upstream()
