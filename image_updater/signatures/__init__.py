"""Signatures of images: cosign with public keys, and keyless (Sigstore), over bytes that somebody else has fetched.

Nothing here asks a registry or the network. `keys.load` and `keyless.load` make a `Trust`; an `Inquiry` takes what was
found beside a digest and says who signed it, or why nothing counts. The `sigstore` library is imported here only, when
it is first needed.
"""

from image_updater.signatures.inquiry import Inquiry
from image_updater.signatures.model import Attached, Bundled, Found, Material, SimpleSigning, Trust

__all__ = ["Attached", "Bundled", "Found", "Inquiry", "Material", "SimpleSigning", "Trust"]
