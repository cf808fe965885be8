"""A mutual-TLS port whose files may be renewed while it is open, and what strangers may take of it."""

import logging
import socket
from typing import Final, NamedTuple

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from client.clock import now_ms
from ledger.errors import Malformed
from node import certificates, open_files
from node.config import TlsConfig, split_address

_LOG: Final = logging.getLogger("chiptrace.tls")
DAY_MS: Final = 86_400_000
WARNING_DAYS: Final = 30
_ISSUE: Final = (
    "put the files that belong together there, or issue the certificate anew (`chiptrace node certificate`)"
)
_IN_TIME: Final = (
    "put one there that counts today (`chiptrace node certificate`), or set this machine's clock"
)
# Of a connection: who has shown no certificate by then is hung up on. gRPC's own is two minutes.
HANDSHAKE_MS_MAX: Final = 5_000
# Of a connection without a call: any certificate of the authority opens one at either port, and who forgets to close them,
# or never means to, would keep everybody else out.
IDLE_MS_MAX: Final = 30_000


def options(unread_bytes_max: int) -> tuple[tuple[str, int], ...]:
    """For a server with such a port. `unread_bytes_max`: of one stream, what may come before it is read; without a bound
    gRPC lets it grow with the line, to 256 MiB on a quick one."""
    return (
        ("grpc.max_allowed_incoming_connections", open_files.connections_max()),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS_MAX),
        ("grpc.max_connection_idle_ms", IDLE_MS_MAX),
        # Nobody here compresses; a request of 8 kB would be one of 8 MB.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", unread_bytes_max),
        ("grpc.so_reuseport", 0),
    )


def bind(server: grpc.aio.Server, listen: str, tls: TlsConfig) -> None:
    """Open a mutual-TLS port; files that are renewed in their places count from the next connection on, without a restart.

    Raises OSError naming the address when it is taken, Malformed without files.
    """
    served = _Served(tls)
    credentials = grpc.dynamic_ssl_server_credentials(
        served.current,
        served.renewed,  # type: ignore[arg-type]  # None means unchanged, which the stubs do not know
        require_client_authentication=True,
    )
    try:
        bound = server.add_secure_port(listen, credentials)
    except RuntimeError:
        bound = 0
    if bound == 0:
        raise OSError(f"cannot listen on {listen}: {_why_not(listen)}")


def _why_not(listen: str) -> str:
    """What the system says of an address; gRPC only says that it failed."""
    host, port = split_address(listen)
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return "it was taken a moment ago and is free now; start again"
    except OSError as error:
        # Python says in brackets what it tried, too.
        return f"{str(error.strerror or error).partition(' (')[0]}; end what runs there, or choose another address in `listen`"


class _Served:
    """What a port shows and whom it believes, read again when one of the three files has changed."""

    def __init__(self, tls: TlsConfig) -> None:
        self._tls = tls
        self._seen = _state(tls)  # before they are read: what changes meanwhile is read once more
        self._trouble = ""
        self.current = _configuration(checked(tls))

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new configuration, or None while there is no good one. Called by gRPC for every handshake."""
        state = _state(self._tls)
        if state == self._seen:
            return None
        try:
            fresh = _configuration(usable(self._tls, now_ms()))
        except Malformed as error:  # said once per cause; looked at again at the next handshake
            if str(error) != self._trouble:
                _LOG.warning(
                    "the renewed TLS files are not taken; the old ones go on", extra={"cause": str(error)}
                )
            self._trouble = str(error)
            return None
        self._seen, self._trouble, self.current = state, "", fresh
        _LOG.info("TLS files read anew", extra={"file": str(self._tls.certificate)})
        return fresh


def _state(tls: TlsConfig) -> list[tuple[int, int, int] | None]:
    """By what a change of a file is noticed. The time of its change, as no copy can set that one back."""
    state: list[tuple[int, int, int] | None] = []
    for path in (tls.ca, tls.certificate, tls.private_key):
        try:
            found = path.stat()
            state.append((found.st_ino, found.st_size, found.st_ctime_ns))
        except OSError:  # whoever reads it says so
            state.append(None)
    return state


def _configuration(found: "Checked") -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(found.key, found.certificate)], found.ca)


class Checked(NamedTuple):
    """What stood in the files of a port when they were read, once, and was found to fit."""

    key: bytes
    certificate: bytes
    ca: bytes
    own: x509.Certificate  # the first in `certificate`
    issuers: list[x509.Certificate]  # of `own`, one at least


def checked(tls: TlsConfig) -> Checked:
    """The files, if a port can be opened with them; gRPC would only say that it cannot. Raises Malformed naming the file.

    1. Key, certificate and authority can be read.
    2. The certificate is of this key.
    3. The authority, or what stands behind the certificate in its file, issued it.
    """
    try:
        certificate, ca = certificates.read_pem(tls.certificate), certificates.read_pem(tls.ca)
        own, *above = certificates.parsed(certificate, tls.certificate)
        authorities = certificates.parsed(ca, tls.ca)
    except Malformed as error:
        raise Malformed(f"{error}; {_ISSUE}") from None
    try:
        key = tls.private_key.read_bytes()
        public_key = serialization.load_pem_private_key(key, None).public_key()
    except OSError as error:
        raise Malformed(f"{tls.private_key} cannot be read: {error.strerror}; {_ISSUE}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Malformed(f"{tls.private_key} is no private key in PEM: {error}; {_ISSUE}") from None
    if public_key != own.public_key():
        raise Malformed(f"the certificate {tls.certificate} is not of the key {tls.private_key}; {_ISSUE}")
    issuers = [issuer for issuer in (*above, *authorities) if _issued(own, issuer)]
    if not issuers:
        raise Malformed(f"the certificate {tls.certificate} is not from the authority {tls.ca}; {_ISSUE}")
    return Checked(key, certificate, ca, own, issuers)


def usable(tls: TlsConfig, now_ms: int) -> Checked:
    """The files, if others speak with who shows them now. Raises Malformed naming the file.

    1. They fit, as `checked` says.
    2. The time of the certificate has begun and is not over.
    3. So is that of an authority that issued it.
    """
    found = checked(tls)
    untimely = certificates.untimely(found.own, now_ms)
    if untimely:
        raise Malformed(f"the certificate {tls.certificate} {untimely}; {_IN_TIME}")
    of_issuers = [certificates.untimely(issuer, now_ms) for issuer in found.issuers]
    if all(of_issuers):
        raise Malformed(f"the authority of {tls.certificate} {of_issuers[0]}; {_IN_TIME}")
    return found


def ending(tls: TlsConfig, now_ms: int) -> str:
    """What is to be said of the time of the certificate, if it is near its end or outside. Raises Malformed as `checked` does."""
    own = checked(tls).own
    untimely = certificates.untimely(own, now_ms)
    left_ms = certificates.expires_ms(own) - now_ms
    if not untimely and left_ms >= WARNING_DAYS * DAY_MS:
        return ""
    when = f"{untimely}, and nobody speaks with a node that shows it" if untimely else ""
    when = when or f"ends in {left_ms // DAY_MS} days"
    return f"{tls.certificate} {when}; put a new one for the same key in its place (`chiptrace node certificate`)"


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
