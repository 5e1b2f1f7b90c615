"""No proof, no commit: what an edit reaches is built before and after, and nothing but the intended images may differ.

Four steps, each able to refuse a site with what it found:
1. the parse: only the intended scalars differ, all other bytes are equal (`patch.verify_parse`, done where the
edits become text);
2. the static answer: located again on the new tree, every root renders exactly the intended images;
3. the renderer agrees with the static answer about every image of every root that is touched;
4. the render: before and after differ in the intended images and in what is derived from them.

Where a root cannot be built here, steps 1 and 2 are enough only if the static argument is complete (design section
6, `parsed`).
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from image_updater.errors import DocumentError, RenderError
from image_updater.kustomize.model import Part, RootKind, SiteKind, dotted
from image_updater.patch.compare import compare, images_of
from image_updater.render.errors import BuildFailed, LimitExceeded, Unbuildable

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from image_updater.kustomize.model import ObjectId, Path, Provenance, Root, Site, Tree, Use
    from image_updater.patch.model import Edit, Intended
    from image_updater.render import Renderer

Images = Counter[tuple[str, str, str, str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RootProof:
    """How far a root was proved: `rendered`, or `parsed` because of `why`. `derived`: what followed from the
    intended images.
    """

    root: str
    level: str
    why: str = ""
    derived: tuple[str, ...] = ()

    @property
    def brief(self) -> str:
        """Without the root's name: `rendered (kustomize v5.8.1)`."""
        return self.level + (f" ({self.why})" if self.why else "")

    def __str__(self) -> str:
        text = f"{self.root}: {self.brief}"
        return text + "".join(f"; derived: {item}" for item in self.derived)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """`refused` is empty when everything is proved; else site ids (as in `Edit.site`) with what was found."""

    roots: tuple[RootProof, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    def summary(self, renderer: str | None) -> str:
        """For the `Proof` trailer: `rendered by kustomize v5.8.1 (3 roots)`, `parsed (1 root: a remote base)`."""
        parts = []
        rendered = [proof for proof in self.roots if proof.level == "rendered"]
        parsed = [proof for proof in self.roots if proof.level == "parsed"]
        if rendered:
            by = f" by {renderer}" if renderer else ""
            parts.append(f"rendered{by} ({_count(len(rendered))})")
        if parsed:
            reasons = ", ".join(dict.fromkeys(proof.why for proof in parsed if proof.why))
            parts.append(f"parsed ({_count(len(parsed))}{': ' + reasons if reasons else ''})")
        return "; ".join(parts) or "parsed"


def _count(number: int) -> str:
    return f"{number} root" + ("s" if number != 1 else "")


async def prove(
    *,
    before: Tree,
    after: Tree,
    old: Provenance,
    new: Provenance,
    edits: Sequence[Edit],
    intended: Mapping[str, Sequence[Intended]],
    renderer: Renderer,
    rendered_only: bool = False,
) -> Proof:
    """Prove `edits`. Raises RendererMissing when a root must be built and there is no kustomize."""
    prover = _Prover(before, after, old, new, edits, intended, renderer, rendered_only)
    return await prover.run()


class _Prover:
    def __init__(
        self,
        before: Tree,
        after: Tree,
        old: Provenance,
        new: Provenance,
        edits: Sequence[Edit],
        intended: Mapping[str, Sequence[Intended]],
        renderer: Renderer,
        rendered_only: bool,
    ) -> None:
        self.before, self.after = before, after
        self.old, self.new = old, new
        self.edits = edits
        self.intended = intended
        self.renderer = renderer
        self.rendered_only = rendered_only
        self.refused: dict[str, str] = {}
        self.sites = {site.id: site for site in old.sites}
        self.refs = {
            (tag.file, tag.start)
            for site in old.sites
            if site.kind is SiteKind.REF and (tag := site.parts.get(Part.TAG)) is not None
        }
        self.by_file: dict[str, list[Edit]] = defaultdict(list)
        for edit in edits:
            self.by_file[edit.file].append(edit)
        self.edited = frozenset(self.by_file)
        self.touched = {root.id: root for root in old.roots.values() if not self.edited.isdisjoint(root.closure)}
        self.old_uses = _uses(old, self.touched)
        self.new_uses = _uses(new, self.touched)

    async def run(self) -> Proof:
        touched = list(self.touched.values())
        self.check_static()
        proofs: list[RootProof] = []
        build: list[Root] = []
        for root in touched:
            if root.kind is RootKind.PLAIN:
                proofs.append(RootProof(root=root.id, level="rendered"))
            elif root.unbuildable is not None and not (self.renderer.allow_remote and root.remotes):
                proofs.append(self.parsed(root, root.unbuildable))
            else:
                build.append(root)
        if build:
            proofs += await self.render(build, self.renderer)
        reached = {file for root in touched for file in self.edited & root.closure}
        for edit in self.edits:
            if self.rendered_only and edit.file not in reached:
                self.refuse([edit], "no root renders it, and update.proof is rendered")
        order = {root.id: index for index, root in enumerate(touched)}
        proofs.sort(key=lambda proof: order.get(proof.root, 0))
        return Proof(roots=tuple(proofs), refused=self.refused)

    # ------------------------------------------------------------------ what reaches what

    def reaching(self, root: Root) -> list[Edit]:
        files = self.edited & root.closure
        if len(files) > 1:
            return [edit for file, edits in self.by_file.items() if file in files for edit in edits]
        return [edit for file in files for edit in self.by_file[file]]

    def refuse(self, edits: Sequence[Edit], reason: str) -> None:
        for edit in edits:
            self.refused.setdefault(edit.site, reason)

    def blame(self, root: Root, places: Sequence[tuple[ObjectId, Path]], reason: str) -> None:
        """Refuses the sites whose uses stand at these places of the root; else the edits that wrote them (an entry that
        came and touches more); else all that reach it.
        """
        reaching = self.reaching(root)
        guilty = set()
        if places:
            spots = set(places)
            for site, use in self.old_uses.get(root.id, ()):
                if (use.object, use.path) in spots:
                    guilty |= {site.id, f"{site.id}@{root.id}"}
        chosen = [edit for edit in reaching if edit.site in guilty]
        if places and not chosen:
            writers = tuple(
                f"{site.id}." for site, use in self.new_uses.get(root.id, ()) if (use.object, use.path) in spots
            )
            chosen = [edit for edit in reaching if f"{edit.file}#{edit.document}:{edit.field}".startswith(writers)]
        self.refuse(chosen or reaching, reason)

    # ------------------------------------------------------------------ the static answer

    def check_static(self) -> None:
        """Every root, touched or not, must render what is intended and otherwise what it rendered before."""
        for root in self.touched.values():
            reaching = self.reaching(root)
            if root.id not in self.new.roots:
                self.refuse(reaching, f"{root.id} would no longer be a root")
                continue
            wanted: dict[tuple[ObjectId, Path], str] = {}
            for item in self.intended.get(root.id, ()):
                wanted[item.object, item.path] = item.new
            now = {(use.object, use.path): use.value for _, use in self.new_uses.get(root.id, ())}
            for site, use in self.old_uses.get(root.id, ()):
                place = (use.object, use.path)
                expected = wanted.get(place, use.value)
                found = now.pop(place, None)
                if found != expected:
                    reason = (
                        f"{root.id}: {use.object} {dotted(use.path)} would become {found!r}, {expected!r} is expected"
                    )
                    del site
                    self.blame(root, [(use.object, use.path)], reason)

    # ------------------------------------------------------------------ the parsed level

    def parsed(self, root: Root, why: str) -> RootProof:
        """Is the argument without a render complete for everything that reaches this root? Refuses what it is not."""
        for edit in self.reaching(root):
            if self.rendered_only:
                self.refuse([edit], f"{root.id} cannot be built here ({why}), and update.proof is rendered")
                continue
            obstacle = self.incomplete(root, edit)
            if obstacle is not None:
                self.refuse([edit], f"{root.id} cannot be built here ({why}), and {obstacle}")
        return RootProof(root=root.id, level="parsed", why=why)

    def incomplete(self, root: Root, edit: Edit) -> str | None:
        site = self.sites.get(edit.site.partition("@")[0]) or self.sites.get(edit.site)
        if site is not None and (site.markers or site.marker is not None or site.kind is SiteKind.HELM):
            return None
        if (edit.file, edit.start) in self.refs:
            return None
        if edit.file != root.kustomization:
            return (
                f"the edit in {edit.file} is not an images: entry of that root itself"
                f" (with one in {root.kustomization or root.path} it moves without a render)"
            )
        if root.complete is not None:
            return f"{root.complete} runs after its images:"
        if site is not None and site.kind is not SiteKind.ENTRY and edit.kind != "insert":
            return f"{edit.field} is not an images: entry"
        return None

    # ------------------------------------------------------------------ the renders

    async def render(self, roots: Sequence[Root], renderer: Renderer) -> list[RootProof]:
        new_roots = [self.new.roots[root.id] for root in roots if root.id in self.new.roots]
        before, after = await asyncio.gather(
            renderer.build_many(self.before, roots), renderer.build_many(self.after, new_roots)
        )
        proofs = []
        for root in roots:
            old, new = before[root.id], after.get(root.id)
            if isinstance(old, RenderError) and not isinstance(old, BuildFailed | LimitExceeded | Unbuildable):
                # Not the root's fault (a full disk, a binary that does not start): nothing is known of it.
                self.refuse(self.reaching(root), f"{root.id} could not be built: {_short(old)}")
            elif isinstance(old, RenderError):
                proofs.append(self.parsed(root, f"it did not build before: {_short(old)}"))
            elif new is None or isinstance(new, RenderError):
                said = _short(new) if isinstance(new, RenderError) else "it is no root any more"
                self.refuse(self.reaching(root), f"{root.id} would no longer build: {said}")
            else:
                try:
                    proofs.append(self.judge(root, old, new, renderer))
                except DocumentError as exc:
                    self.refuse(self.reaching(root), f"{root.id}: its render cannot be read: {exc.message}")
        return proofs

    def judge(self, root: Root, old: bytes, new: bytes, renderer: Renderer) -> RootProof:
        disagreement = self.disagreement(root, old)
        if disagreement is not None:
            self.refuse(self.reaching(root), f"{root.id}: {disagreement}")
            return RootProof(root=root.id, level="rendered", why="refused")
        helm = root.helm or any(site.kind is SiteKind.HELM for site, _ in self.old_uses.get(root.id, ()))
        edited = self.copied(root)
        result = compare(old, new, tuple(self.intended.get(root.id, ())), helm=helm, edited=edited)
        if result.unexpected:
            found = "; ".join(str(item) for item in result.unexpected[:3])
            more = f" and {len(result.unexpected) - 3} more" if len(result.unexpected) > 3 else ""
            places = [(item.object, item.path) for item in result.unexpected]
            self.blame(root, places, f"{root.id}: the render would also change: {found}{more}")
        if result.missing:
            item = result.missing[0]
            self.blame(
                root,
                [(missing.object, missing.path) for missing in result.missing],
                f"{root.id}: {item.object} {dotted(item.path)} would not become {item.new!r}",
            )
        return RootProof(
            root=root.id,
            level="rendered",
            why=renderer.kustomize.description,
            derived=tuple(str(item) for item in result.derived),
        )

    def copied(self, root: Root) -> list[tuple[str | None, str | None]]:
        """What a render may hold of the edits as it stands in the files: the scalars, what a literal's key holds, and
        for generators whole files; in Secrets the same in base64.
        """
        reaching = self.reaching(root)
        pairs = [(edit.old, edit.new) for edit in reaching]
        pairs += [
            (edit.old.partition("=")[2], edit.new.partition("=")[2])
            for edit in reaching
            if edit.old is not None and edit.new is not None and "=" in edit.old
        ]
        whole = [(self.before.read(file), self.after.read(file)) for file in dict.fromkeys(e.file for e in reaching)]
        texts = [(old.encode(), new.encode()) for old, new in pairs if old is not None and new is not None]
        pairs += [(old.decode("utf-8", "replace"), new.decode("utf-8", "replace")) for old, new in whole]
        pairs += [(_secret(old), _secret(new)) for old, new in (*texts, *whole)]
        return pairs

    def disagreement(self, root: Root, manifests: bytes) -> str | None:
        """Static analysis proposes, the renderer disposes: both answers, where they differ about an image."""
        ours: Counter[tuple[str, str, str]] = Counter()
        for _, use in self.old_uses.get(root.id, ()):
            if use.seen_by_images:
                ours[use.object.kind, use.object.name, use.value] += 1
        theirs: Counter[tuple[str, str, str]] = Counter()
        for object_, path, value in images_of(manifests):
            if _container(path):
                theirs[object_.kind, object_.name, value] += 1
        if ours == theirs:
            return None
        only_ours = sorted((ours - theirs).elements())
        only_theirs = sorted((theirs - ours).elements())
        if not only_theirs and all(kind for kind, _, _ in only_ours):
            # Fields of custom kinds: the renderer's list knows containers only.
            extra = {
                (u.object.kind, u.object.name, u.value)
                for _, u in self.old_uses.get(root.id, ())
                if not _container(u.path)
            }
            if all(item in extra for item in only_ours):
                return None
        return (
            f"static analysis and the renderer disagree: {_list(only_ours)} here, {_list(only_theirs)} rendered;"
            " nothing is edited in it"
        )


def _container(path: Path) -> bool:
    """Is it the image of a list of containers? In a chart's values `containers` may be a mapping by name."""
    return (
        len(path) > 2 and path[-1] == "image" and type(path[-2]) is int and path[-3] in ("containers", "initContainers")
    )


def _uses(provenance: Provenance, roots: Container[str]) -> dict[str, list[tuple[Site, Use]]]:
    """What these roots render, in site order."""
    table: dict[str, list[tuple[Site, Use]]] = defaultdict(list)
    for site in provenance.sites:
        for use in site.uses:
            if use.root in roots:
                table[use.root].append((site, use))
    return table


def _secret(data: bytes) -> str:
    """As Kustomize writes a Secret's data: base64, long ones in lines of 70 (kyaml's `encodeBase64`)."""
    text = b64encode(data).decode()
    return text if len(text) < 70 else "".join(f"{text[i : i + 70]}\n" for i in range(0, len(text), 70))


def _list(items: Sequence[tuple[str, str, str]]) -> str:
    return ", ".join(f"{kind} {name} {value}" for kind, name, value in items[:3]) or "nothing"


def _short(error: RenderError) -> str:
    text = error.message.strip().replace("\n", " ")
    return text if len(text) <= 200 else text[:199] + "…"
