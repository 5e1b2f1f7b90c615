"""Is a digest signed? What was found is added piece by piece, and no further than needed; the rest is words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from image_updater.policy.model import Verified
from image_updater.signatures import payloads
from image_updater.signatures.model import Attached, Bundled, Found, SimpleSigning, Unverified

if TYPE_CHECKING:
    from image_updater.signatures.model import Trust

_SHOWN = 3
"""Reasons that one verdict gives."""


@dataclass(slots=True, kw_only=True)
class Inquiry:
    """One digest, whom to trust, and the predicate types that must be attested."""

    digest: str
    trust: Trust
    attestations: tuple[str, ...] = ()
    signed_by: str = ""
    attested: dict[str, str] = field(default_factory=dict)
    """Who attested, by predicate type."""
    refused: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """What was not looked at, and why."""

    @property
    def signed(self) -> bool:
        return bool(self.signed_by)

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(kind for kind in self.attestations if kind not in self.attested)

    @property
    def complete(self) -> bool:
        return self.signed and not self.missing

    def wants(self, predicate: str | None) -> bool:
        """Could a statement of this kind (None = not said) still change the answer?"""
        if predicate is None:
            return not self.complete
        return predicate in self.missing or (not self.signed and signs(predicate))

    def add(self, found: Found) -> None:
        """Judge one more."""
        try:
            self._add(found)
        except Unverified as error:
            self.refused.append(str(error))

    def _add(self, found: Found) -> None:
        match found:
            case SimpleSigning():
                who = self.trust.simple(found)
                payloads.simple_signing(found.payload, self.digest)
                self.signed_by = self.signed_by or who
            case Attached():
                who, statement = self.trust.attached(found)
                self._stated(payloads.statement(statement, self.digest), who)
            case Bundled():
                who, signed = self.trust.bundled(found, self.digest)
                if signed is None:
                    self.signed_by = self.signed_by or who
                else:
                    self._stated(payloads.statement(signed, self.digest), who)
            case _:
                assert_never(found)

    def _stated(self, predicate: str, who: str) -> None:
        if signs(predicate):
            self.signed_by = self.signed_by or who
        self.attested.setdefault(predicate, who)

    def refuse(self, why: str) -> None:
        """Something that is there and cannot be a signature, or cannot be read."""
        self.refused.append(why)

    def skip(self, why: str) -> None:
        """Something that is there and was not looked at."""
        self.skipped.append(why)

    def verdict(self) -> Verified:
        if self.complete:
            shown = "".join(f"; {kind} by {self.attested[kind]}" for kind in self.attestations)
            return Verified(ok=True, reason=f"signed by {self.signed_by}{shown}", lasting=True)
        if self.signed:
            lacking = f"signed by {self.signed_by}, but not attested: {', '.join(self.missing)}"
        elif self.refused:
            count = len(self.refused)
            lacking = "its signature does not count" if count == 1 else f"none of its {count} signatures counts"
        else:
            lacking = "not signed (yet)"
        why = list(dict.fromkeys(self.refused))[:_SHOWN] + list(dict.fromkeys(self.skipped))[:_SHOWN]
        return Verified(
            ok=False,
            reason=f"{lacking}: {'; '.join(why)}" if why else lacking,
            lasting=bool(self.refused) and not self.signed,
        )


def signs(predicate: str) -> bool:
    """Is a statement of this kind a signature of the image?

    cosign's own, and the provenance of its build: some builders (GitHub's attestations) write nothing else. What others
    find out about an image (a scan, an SBOM) is none.
    """
    return predicate == payloads.SIGNATURE or predicate.startswith(payloads.PROVENANCE)
