"""People first where a value has more than one place: a person pins one root, or takes a value back around our site."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from image_updater.git import FolderTree
from image_updater.images.names import split
from image_updater.kustomize import locate
from image_updater.patch.claims import with_unseen_uses
from tests.integration.line.test_checkout import deployment
from tests.integration.line.test_people import BASE, OBJECTS, OVERLAY, RECORD, Desk
from tests.parts import gitservers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Steps = Callable[["Fleet"], None]

PROD = "overlays/prod/kustomization.yaml"
PIN = "images:\n  - name: acme/web\n    newTag: {tag}\n"
DIGEST = f"sha256:{'a' * 64}"
COMPONENT = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"
FLUX = """\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {{name: prod, namespace: flux-system}}
spec:
  path: ./overlays/prod
  sourceRef: {{kind: GitRepository, name: fleet}}
{images}"""
ARGO = """\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {{name: prod, namespace: argocd}}
spec:
  destination: {{server: https://kubernetes.default.svc}}
  source:
    repoURL: https://git.acme.example/fleet
    path: overlays/prod
{images}"""


class Fleet(Desk):
    """A base under staging and prod."""

    def read(self, path: str) -> str:
        return (self.clone / path).read_text()

    def write(self, path: str, text: str, message: str = "", *arguments: str) -> None:
        """With a message: a commit of a person on what is there now."""
        if message:
            self.pull()
        (self.clone / path).parent.mkdir(parents=True, exist_ok=True)
        (self.clone / path).write_text(text)
        if message:
            self.commit(message, *arguments)

    def pin(self, tag: str = "1.0.0", path: str = PROD) -> None:
        self.pull()
        self.write(path, self.read(path) + PIN.format(tag=tag))
        self.commit(f"Pin {tag}")

    def ours(self, *tags: Any, paths: str = "") -> None:
        """A commit of ours, by an automation that may write there."""
        self.paths = paths
        assert self.update(*tags)["changed"]
        self.paths = ""

    def rendered(self) -> dict[str, str]:
        """By folder what each root of main renders: `staging 1.1.0`."""
        self.pull()
        found = with_unseen_uses(locate(FolderTree(self.clone)))
        uses = [use for site in found.sites for use in site.uses if "acme/web" in use.value or "fork/web" in use.value]
        return {use.root.partition(" ")[0].rpartition("/")[2]: _short(use.value) for use in uses}


def _short(reference: str) -> str:
    name, tag, digest = split(reference)
    return ("" if name == "acme/web" else f"{name}:") + (tag or f"@{(digest or '')[:9]}")


@pytest.fixture
def fleet(server: gitservers.HttpServer, tmp_path: Path) -> Fleet:
    made = Fleet(server=server, folder=tmp_path, name=f"{tmp_path.name}.git")
    files = {"base/web.yaml": deployment("web", "1.0.0"), "base/kustomization.yaml": BASE, "README.md": "A fleet\n"}
    files |= {f"overlays/{name}/kustomization.yaml": OVERLAY.format(name=name) for name in ("staging", "prod")}
    gitservers.bare(made.bare, files=files)
    return made


# ------------------------------------------------------------------------------------------------- what holds


def entry(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0")
    fleet.pin()


def entry_after_two(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.0.5")
    fleet.ours("1.0.5", "1.1.0")
    fleet.pin("1.0.5")
    fleet.by_hand("1.0.5", "1.0.0", path=PROD)


def entry_of_the_same_first(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0")
    fleet.pin("1.1.0")
    fleet.by_hand("1.1.0", "1.0.0", path=PROD)


def entry_without_a_tag_first(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0")
    fleet.write(PROD, OVERLAY.format(name="prod") + "images:\n  - name: acme/web\n    newName: acme/web\n", "An entry")
    fleet.by_hand("    newName: acme/web\n", "    newName: acme/web\n    newTag: 1.0.0\n", path=PROD)


def entry_above_a_revert(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0")
    fleet.revert()
    fleet.pin()
    fleet.revert("HEAD~1")


def entry_once_more(fleet: Fleet) -> None:
    """What it displaced the last time counts."""
    fleet.ours("1.0.0", "1.0.5")
    fleet.pin()
    fleet.revert()
    fleet.ours("1.0.5", "1.1.0")
    fleet.revert("HEAD~1")


def a_copy_instead_of_the_base(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0")
    fleet.pull()
    fleet.write("overlays/prod/web.yaml", deployment("web", "1.0.0"))
    fleet.write(PROD, "namespace: prod\nresources: [web.yaml]\n")
    fleet.commit("Stand alone")


def a_component(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0")
    fleet.pull()
    fleet.write("pins/kustomization.yaml", COMPONENT + PIN.format(tag="1.0.0"))
    fleet.write(PROD, fleet.read(PROD) + "components: [../../pins]\n")
    fleet.commit("Pin by a component")


def around_flux(fleet: Fleet) -> None:
    fleet.write("clusters/prod.yaml", FLUX.format(images=""), "Flux")
    fleet.ours("1.0.0", "1.1.0")
    images = "  images:\n    - name: acme/web\n      newTag: 1.0.0\n"
    fleet.write("clusters/prod.yaml", FLUX.format(images=images), "Pin in Flux's object")


def around_argo(fleet: Fleet) -> None:
    fleet.write("clusters/prod.yaml", ARGO.format(images=""), "Argo CD")
    fleet.ours("1.0.0", "1.1.0")
    images = "    kustomize:\n      images:\n        - acme/web:1.0.0\n"
    fleet.write("clusters/prod.yaml", ARGO.format(images=images), "Pin in the Application")


def by_kustomize_edit(fleet: Fleet) -> None:
    """It writes the whole file anew."""
    fleet.ours("1.0.0", "1.1.0", paths="overlays/prod")
    edited = "images:\n- name: acme/web\n  newName: acme/web\n  newTag: 1.0.0\n"
    header = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
    fleet.write(PROD, f"{header}namespace: prod\nresources:\n- ../../base\n{edited}", "kustomize edit set image")
    fleet.ours("1.0.0", "1.1.0", paths="overlays/staging")


def a_digest(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0")
    fleet.write(PROD, OVERLAY.format(name="prod") + f"images:\n  - name: acme/web\n    digest: {DIGEST}\n", "A digest")


def a_digest_instead_of_our_tag(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0", paths="overlays/prod")
    fleet.by_hand("newTag: 1.1.0", f"digest: {DIGEST}", path=PROD)
    fleet.ours("1.0.0", "1.1.0", paths="overlays/staging")


def merged(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0")
    fleet.pull()
    fleet.person("checkout", "-q", "-b", "pin")
    fleet.write(PROD, fleet.read(PROD) + PIN.format(tag="1.0.0"))
    fleet.person("commit", "-qam", "Pin")
    fleet.person("checkout", "-q", "main")
    fleet.edit("README.md", "fleet", "new fleet")
    fleet.commit("Meanwhile")
    fleet.person("merge", "-q", "--no-ff", "-m", "Merge the pin", "pin")
    fleet.person("push", "-q", "origin", "HEAD:main")


def squashed(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0")
    fleet.pull()
    fleet.person("checkout", "-q", "-b", "pin")
    for tag in ("1.0.5", "1.0.0"):
        fleet.write(PROD, OVERLAY.format(name="prod") + PIN.format(tag=tag))
        fleet.person("commit", "-qam", "Pin")
    fleet.person("checkout", "-q", "main")
    fleet.person("merge", "-q", "--squash", "pin")
    fleet.commit("Pin (#7)")


def in_a_merge_itself(fleet: Fleet) -> None:
    fleet.pull()
    fleet.person("checkout", "-q", "-b", "feature")
    fleet.edit("README.md", "fleet", "new fleet")
    fleet.person("commit", "-qam", "A feature")
    fleet.ours("1.0.0", "1.1.0")
    fleet.pull()
    fleet.person("merge", "-q", "--no-ff", "--no-commit", "feature")
    fleet.write(PROD, fleet.read(PROD) + PIN.format(tag="1.0.0"))
    fleet.commit("Merge the feature, and pin")


def our_entry_taken_out(fleet: Fleet) -> None:
    """Then all roots may be written: the base would bring it back."""
    fleet.ours("1.0.0", "1.1.0", paths="overlays/prod")
    fleet.revert()
    fleet.ours("1.0.0", "1.1.0", paths="overlays/staging")


def our_entry_taken_out_and_moved(fleet: Fleet) -> None:
    our_entry_taken_out(fleet)
    fleet.pull()
    fleet.person("mv", "overlays/prod", "overlays/production")
    fleet.commit("Another name")


def our_entry_lowered(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0", paths="overlays/prod")
    fleet.by_hand("1.1.0", "1.0.0", path=PROD)
    fleet.ours("1.0.0", "1.1.0", paths="overlays/staging")


def entry_that_moved_down(fleet: Fleet) -> None:
    """Into another folder of another depth: what it refers to is called otherwise there."""
    entry(fleet)
    fleet.pull()
    (fleet.clone / "envs/eu").mkdir(parents=True)
    fleet.person("mv", "overlays/prod", "envs/eu/prod")
    fleet.edit("envs/eu/prod/kustomization.yaml", "../../base", "../../../base")
    fleet.commit("Another place")


def to_a_component(fleet: Fleet) -> None:
    fleet.write("pins/kustomization.yaml", COMPONENT, "A component")
    fleet.write(PROD, OVERLAY.format(name="prod") + "components: [../../pins]\n")
    fleet.write("pins/kustomization.yaml", COMPONENT + PIN.format(tag="1.0.0"))
    fleet.commit("The pin goes there")


def entry_that_moved_to_a_component(fleet: Fleet) -> None:
    entry(fleet)
    to_a_component(fleet)


def lowered_entry_that_moved_to_a_component(fleet: Fleet) -> None:
    our_entry_lowered(fleet)
    to_a_component(fleet)


def component_whose_overlay_moved(fleet: Fleet) -> None:
    a_component(fleet)
    fleet.person("mv", "overlays/prod", "overlays/production")
    fleet.commit("Another name")


def entry_written_otherwise(fleet: Fleet) -> None:
    entry(fleet)
    text = OVERLAY.format(name="prod") + 'images: [{newTag: "1.0.0", name: acme/web}] # pinned\n'
    fleet.write(PROD, text, "Other style")


def entry_of_what_has_another_name_since(fleet: Fleet) -> None:
    entry(fleet)
    fleet.by_hand("metadata: {name: web}", "metadata: {name: shop}", path="base/web.yaml")
    fleet.by_hand("namespace: prod", "namespace: shop-prod", path=PROD)


HOLDS: tuple[Steps, ...] = (
    entry, entry_after_two, entry_of_the_same_first, entry_without_a_tag_first, entry_above_a_revert, entry_once_more,
    a_copy_instead_of_the_base, a_component, around_flux, around_argo, by_kustomize_edit, a_digest,
    a_digest_instead_of_our_tag, merged, squashed, in_a_merge_itself, our_entry_taken_out,
    our_entry_taken_out_and_moved, our_entry_lowered, entry_that_moved_down, entry_that_moved_to_a_component,
    lowered_entry_that_moved_to_a_component, component_whose_overlay_moved, entry_written_otherwise,
    entry_of_what_has_another_name_since,
)  # fmt: skip


@pytest.mark.parametrize("steps", HOLDS, ids=lambda steps: steps.__name__)
def test_prod_stays_as_a_person_has_it_until_a_newer_tag(fleet: Fleet, steps: Steps) -> None:
    steps(fleet)
    before = fleet.rendered()
    assert before.pop("staging") == "1.1.0"
    assert before.popitem()[1] in ("1.0.0", "@sha256:aa")
    tip = fleet.tip
    for fresh in (False, True):
        answer = fleet.update("1.0.0", "1.0.7", "1.1.0", fresh=fresh)
        assert not answer["changed"], answer["edits"]
        (reason,) = {site["reason"] for site in answer["sites"] if site["state"] == "held"}
        assert "1.1.0" in reason
        assert "Person" in reason
    assert fleet.tip == tip
    assert fleet.update("1.0.0", "1.1.0", "1.2.0")["changed"]
    assert set(fleet.rendered().values()) == {"1.2.0"}


# ------------------------------------------------------------------------------------------------- what does not


def a_new_overlay(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0")
    fleet.write("overlays/eu/kustomization.yaml", OVERLAY.format(name="eu") + PIN.format(tag="1.0.0"), "Europe")


def a_new_workload(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0")
    fleet.pull()
    fleet.write("overlays/prod/cron.yaml", deployment("cron", "1.0.0").replace("acme/cron", "acme/web"))
    fleet.edit(PROD, "[../../base]", "[../../base, cron.yaml]")
    fleet.commit("A second workload")


def a_new_workload_beside_ours(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0")
    cron = deployment("cron", "1.0.0").replace("acme/cron", "acme/web")
    fleet.pull()
    fleet.write("base/web.yaml", f"{cron}---\n{fleet.read('base/web.yaml')}")
    fleet.commit("A second workload")


def a_new_container_beside_ours(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0")
    old, new = "containers: [", "initContainers: [{name: migrate, image: acme/web:1.0.0}], containers: ["
    fleet.by_hand(old, new, path="base/web.yaml")


def a_container_in_front_of_ours(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0")
    fleet.by_hand("containers: [", "containers: [{name: first, image: acme/web:1.0.0}, ", path="base/web.yaml")


def never_ours(fleet: Fleet) -> None:
    fleet.by_hand("1.0.0", "1.0.5", path="base/web.yaml")
    fleet.pin()
    fleet.ours("1.0.0", "1.1.0", paths="base, overlays/staging")


def a_pin_that_is_over(fleet: Fleet) -> None:
    entry(fleet)
    fleet.revert()


def a_pin_that_is_brought_up(fleet: Fleet) -> None:
    entry(fleet)
    fleet.by_hand("1.0.0", "1.1.0", path=PROD)


def a_pin_of_the_same(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0")
    fleet.pin("1.1.0")


def a_pin_from_before_that_is_merged(fleet: Fleet) -> None:
    """It knew nothing of what we wrote since, and took nothing back."""
    fleet.pull()
    fleet.person("checkout", "-q", "-b", "pin")
    fleet.write(PROD, fleet.read(PROD) + PIN.format(tag="1.0.0"))
    fleet.person("commit", "-qam", "What it is now")
    fleet.ours("1.0.0", "1.1.0")
    fleet.pull()
    fleet.person("merge", "-q", "--no-ff", "-m", "Merge the pin", "pin")
    fleet.person("push", "-q", "origin", "HEAD:main")


def a_pin_after_which_somebody_says_resume(fleet: Fleet) -> None:
    entry(fleet)
    fleet.pull()
    fleet.commit("Go on\n\nImage-Updater: resume", "--allow-empty")


def a_revert_of_a_revert(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0", paths="overlays/prod")
    fleet.revert()
    fleet.revert()


def our_entry_moved(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0", paths="overlays/prod")
    fleet.pull()
    (fleet.clone / "envs/eu").mkdir(parents=True)
    fleet.person("mv", "overlays/prod", "envs/eu/prod")
    fleet.edit("envs/eu/prod/kustomization.yaml", "../../base", "../../../base")
    fleet.commit("Another place")


def our_entry_moved_to_a_component(fleet: Fleet) -> None:
    fleet.write("pins/kustomization.yaml", COMPONENT, "A component")
    fleet.ours("1.0.0", "1.1.0", paths="overlays/prod")
    fleet.pull()
    fleet.write(PROD, OVERLAY.format(name="prod") + "components: [../../pins]\n")
    fleet.write("pins/kustomization.yaml", COMPONENT + PIN.format(tag="1.1.0"))
    fleet.commit("The tag goes there")


def our_entry_written_otherwise(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0", paths="overlays/prod")
    text = OVERLAY.format(name="prod") + 'images: [{newTag: "1.1.0", name: acme/web}] # as before\n'
    fleet.write(PROD, text, "Other style")


def ours_moved_from_the_base_to_entries(fleet: Fleet) -> None:
    """The base goes back, each overlay says what it has: nothing that is rendered is another."""
    fleet.ours("1.0.0", "1.1.0")
    fleet.pull()
    fleet.edit("base/web.yaml", "1.1.0", "1.0.0")
    for name in ("staging", "prod"):
        path = f"overlays/{name}/kustomization.yaml"
        fleet.write(path, fleet.read(path) + PIN.format(tag="1.1.0"))
    fleet.commit("Tags in overlays")


FREE: tuple[Steps, ...] = (
    a_new_overlay, a_new_workload, a_new_workload_beside_ours, a_new_container_beside_ours,
    a_container_in_front_of_ours, never_ours, a_pin_that_is_over, a_pin_that_is_brought_up, a_pin_of_the_same,
    a_pin_from_before_that_is_merged, a_pin_after_which_somebody_says_resume, a_revert_of_a_revert, our_entry_moved,
    our_entry_moved_to_a_component, our_entry_written_otherwise, ours_moved_from_the_base_to_entries,
)  # fmt: skip


@pytest.mark.parametrize("steps", FREE, ids=lambda steps: steps.__name__)
def test_automation_goes_on_where_nobody_took_anything_back(fleet: Fleet, steps: Steps) -> None:
    steps(fleet)
    for fresh in (False, True):
        answer = fleet.update("1.0.0", "1.1.0", fresh=fresh)
        assert "held" not in {site["state"] for site in answer["sites"]}, answer["sites"]
        assert set(fleet.rendered().values()) == {"1.1.0"}
    assert fleet.update("1.1.0", "1.2.0")["changed"]
    assert set(fleet.rendered().values()) == {"1.2.0"}


def test_a_copy_of_a_pinned_overlay_is_a_new_one(fleet: Fleet) -> None:
    entry(fleet)
    fleet.write("overlays/eu/kustomization.yaml", fleet.read(PROD).replace("prod", "eu"), "Europe")
    assert fleet.update("1.0.0", "1.1.0")["changed"]
    assert fleet.rendered() == {"staging": "1.1.0", "prod": "1.0.0", "eu": "1.1.0"}


def test_a_pin_over_a_remote_base_is_known_by_what_entries_say(fleet: Fleet) -> None:
    remote = "resources: [https://git.acme.example/base//web?ref=v1]\n"
    fleet.write(PROD, remote + PIN.format(tag="1.0.0"), "A remote base")
    fleet.ours("1.0.0", "1.1.0")
    fleet.pull()
    fleet.write("pins/kustomization.yaml", COMPONENT + PIN.format(tag="1.0.0"))
    fleet.write(PROD, remote + "components: [../../pins]\n")
    fleet.commit("Pin by a component")
    answer = fleet.update("1.0.0", "1.1.0")
    assert not answer["changed"]
    (reason,) = {site["reason"] for site in answer["sites"] if site["state"] == "held"}
    assert "replaced 1.1.0 by 1.0.0" in reason


def test_a_pin_of_all_roots_holds_all(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0")
    fleet.pin(path="base/kustomization.yaml")
    assert not fleet.update("1.0.0", "1.1.0")["changed"]
    assert fleet.update("1.0.0", "1.1.0", "1.1.1")["changed"]
    assert set(fleet.rendered().values()) == {"1.1.1"}


def test_a_fork_is_another_image(fleet: Fleet) -> None:
    """Until it is given up again."""
    fleet.ours("1.0.0", "1.1.0")
    fork = "images:\n  - name: acme/web\n    newName: fork/web\n    newTag: 1.0.0\n"
    fleet.write(PROD, OVERLAY.format(name="prod") + fork, "Our own build")
    assert not fleet.update("1.0.0", "1.1.0")["changed"]
    assert fleet.update("1.1.0", "1.2.0")["changed"]
    assert fleet.rendered() == {"staging": "1.2.0", "prod": "fork/web:1.0.0"}
    fleet.write(PROD, OVERLAY.format(name="prod"), "No more")
    assert set(fleet.rendered().values()) == {"1.2.0"}
    assert fleet.update("1.2.0", "1.3.0")["changed"]


def test_a_pin_lasts_until_a_resume_where_the_policy_says_so(fleet: Fleet) -> None:
    fleet.policy += ", hold: untilResume"
    entry(fleet)
    assert fleet.update("1.0.0", "1.1.0", "1.2.0")["changed"]
    assert fleet.rendered() == {"staging": "1.2.0", "prod": "1.0.0"}
    assert not fleet.update("1.0.0", "1.1.0", "1.2.0", fresh=True)["changed"]
    fleet.by_hand("namespace: prod", "namespace:  prod", "Go on\n\nImage-Updater: resume", path=PROD)
    assert fleet.update("1.0.0", "1.1.0", "1.2.0")["changed"]
    assert set(fleet.rendered().values()) == {"1.2.0"}


def test_a_patch_of_a_person_pins_where_patches_are_edited(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    edited = OBJECTS.replace("{{name: fleet}}{more}", "{{name: fleet}}, update: {{patches: true}}")
    monkeypatch.setattr("tests.integration.line.test_people.OBJECTS", edited)
    fleet.ours("1.0.0", "1.1.0")
    patch = deployment("web", "1.0.0").replace("  selector: {matchLabels: {app: web}}\n", "")
    fleet.pull()
    fleet.write("overlays/prod/pin.yaml", patch)
    fleet.write(PROD, fleet.read(PROD) + "patches: [{path: pin.yaml}]\n")
    fleet.commit("Pin by a patch")
    assert not fleet.update("1.0.0", "1.1.0")["changed"]
    assert fleet.update("1.0.0", "1.1.0", "1.2.0")["changed"]
    assert set(fleet.rendered().values()) == {"1.2.0"}


def test_a_rollback_of_ours_that_made_an_entry_holds(fleet: Fleet) -> None:
    fleet.ours("1.0.0", "1.1.0")
    fleet.pull()
    fleet.write(PROD, OVERLAY.format(name="prod") + PIN.format(tag="1.0.0"))
    commit = fleet.commit(RECORD.format(old="1.1.0", to="1.0.0"))
    answer = fleet.update("1.0.0", "1.1.0")
    assert not answer["changed"]
    (reason,) = {site["reason"] for site in answer["sites"] if site["state"] == "held"}
    assert commit[:12] in reason
    assert "rolled 1.1.0 back" in reason
    assert fleet.update("1.0.0", "1.1.0", "1.2.0")["changed"]


def test_a_revert_of_several_images_holds_each_for_itself(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    api = "---\napiVersion: image-updater.dev/v1alpha1\nkind: ImagePolicy\nmetadata: {{name: api}}\n"
    api += "spec: {{image: acme/api, policy: {policy}}}\n"
    monkeypatch.setattr("tests.integration.line.test_people.OBJECTS", OBJECTS + api)
    fleet.pull()
    fleet.write("base/api.yaml", deployment("api", "1.0.0"))
    fleet.edit("base/kustomization.yaml", "[web.yaml]", "[web.yaml, api.yaml]")
    fleet.commit("Another")
    fleet.ours("1.0.0", "1.1.0")
    fleet.revert()
    assert not fleet.update("1.0.0", "1.1.0")["changed"]
    fleet.by_hand("api:1.0.0", "api:1.1.0", path="base/api.yaml")
    fleet.pin("1.0.5")
    assert not fleet.update("1.0.0", "1.1.0")["changed"]
    assert fleet.update("1.1.0", "1.2.0")["changed"]
    assert fleet.tag("base/web.yaml") == "1.2.0"


def test_an_entry_that_was_taken_out_is_not_brought_back_by_the_base(fleet: Fleet) -> None:
    """The automation may write everywhere now, and another overlay is behind."""
    fleet.ours("1.0.0", "1.1.0", paths="overlays/prod")
    fleet.revert()
    assert fleet.update("1.0.0", "1.1.0")["changed"]
    assert fleet.rendered() == {"staging": "1.1.0", "prod": "1.0.0"}
    assert not fleet.update("1.0.0", "1.1.0", fresh=True)["changed"]
    assert fleet.update("1.0.0", "1.1.0", "1.2.0")["changed"]
    assert set(fleet.rendered().values()) == {"1.2.0"}
