"""What a replay can know of the past: from a state file, or from a tags file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_updater.images import parse_name
from image_updater.pipeline.answers.outcome import policy_name
from image_updater.pipeline.replay.pasttags import PastTags, of_file, of_history
from image_updater.pipeline.replay.simulation import Past

if TYPE_CHECKING:
    from image_updater.api.model import Objects
    from image_updater.pipeline.answers.tagsfile import TagsFile
    from image_updater.store import Store


def from_store(store: Store, objects: Objects) -> Past:
    """Of each image as the identity saw it that listed it last. Raises StateFailed."""
    images: dict[str, PastTags] = {}
    tags: dict[str, PastTags] = {}
    for policy in objects.policies:
        image = parse_name(policy.image).canonical
        if image not in images:
            history = store.tag_history(image)
            if history is None:
                continue
            images[image] = of_history(history, image)
        tags[policy_name(policy)] = images[image]
    names = {policy_name(policy) for policy in objects.policies}
    upstream = {
        f"{policy.key.namespace}/{policy.after.name}" for policy in objects.policies if policy.after is not None
    }
    return Past(
        tags=tags,
        approvals={name: store.wishes(name).approvals for name in names},
        proven={name: proven for name in upstream if (proven := store.proven(name))},
    )


def from_file(file: TagsFile, objects: Objects) -> Past:
    """A tags file has one date of a tag: when its image was made. An image that it does not list has no past."""
    tags: dict[str, PastTags] = {}
    for policy in objects.policies:
        image = parse_name(policy.image)
        answer = file.answer(image)
        if answer.tags:
            tags[policy_name(policy)] = of_file(answer, image.canonical)
    return Past(tags=tags)
