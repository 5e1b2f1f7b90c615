"""Trust and client certificates for an API server."""

from __future__ import annotations

import ssl
import tempfile
from typing import TYPE_CHECKING

from image_updater.errors import SpecError, Where

if TYPE_CHECKING:
    from image_updater.cluster.config import ClusterConfig
    from image_updater.cluster.credentials import Login


def context(config: ClusterConfig, login: Login) -> ssl.SSLContext:
    """With a CA given, nothing else is trusted, as clients of Kubernetes do. Raises SpecError for bad certificates."""
    where = Where(object=config.server)
    try:
        made = ssl.create_default_context(cadata=config.ca.decode("ascii") if config.ca is not None else None)
    except (ssl.SSLError, UnicodeDecodeError, ValueError):
        raise SpecError("certificate-authority-data holds no PEM certificate", where=where) from None
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # A cluster's CA is trusted as it stands, even without the key usage that OpenSSL's strict mode wants.
    made.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    if not config.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if login.certificate is not None and login.key is not None:
        # OpenSSL reads key pairs from files only: a private one (0600) that is gone before this function returns.
        with tempfile.NamedTemporaryFile(prefix="image-updater-", suffix=".pem") as file:
            file.write(login.certificate.rstrip() + b"\n" + login.key)
            file.flush()
            try:
                # Without an answer OpenSSL would ask the terminal for the password of an encrypted key.
                made.load_cert_chain(file.name, password="")
            except ssl.SSLError:
                raise SpecError("the client certificate and its key are no PEM key pair", where=where) from None
    return made
