"""A mutual-TLS port whose certificate may be renewed while it is open, and what strangers may take of it."""

import logging
import socket
from typing import Final, NamedTuple

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from ledger.errors import Malformed
from node import certificates, open_files
from node.config import TlsConfig, split_address
from node.logs import Seldom

_LOG: Final = logging.getLogger("chiptrace.tls")
DAY_MS: Final = 86_400_000
WARNING_DAYS: Final = 30
_ISSUE: Final = (
    "put the files that belong together there, or issue the certificate anew (`chiptrace node certificate`)"
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
    """Open a mutual-TLS port; a certificate that is renewed in its file is shown from then on, without a restart.

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
    """The certificate a port shows, read again when its file has changed."""

    def __init__(self, tls: TlsConfig) -> None:
        self._tls = tls
        self._seldom = Seldom(_LOG)  # every handshake asks
        self._read_at_ns = tls.certificate.stat().st_mtime_ns if tls.certificate.exists() else 0
        self.current = self._read()

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new configuration, or None while nothing has changed. Called by gRPC for every handshake."""
        try:
            changed_ns = self._tls.certificate.stat().st_mtime_ns
            if changed_ns == self._read_at_ns:
                return None
            fresh = self._read()
        except (OSError, Malformed) as error:
            self._seldom.warning(
                "the renewed certificate is not taken; the old one is shown", {"cause": str(error)}
            )
            return None
        self._read_at_ns = changed_ns
        self.current = fresh
        _LOG.info("certificate renewed", extra={"file": str(self._tls.certificate)})
        return fresh

    def _read(self) -> grpc.ServerCertificateConfiguration:
        found = checked(self._tls)
        return grpc.ssl_server_certificate_configuration([(found.key, found.certificate)], found.ca)


class Checked(NamedTuple):
    """What stood in the files of a port when they were read, once, and was found to fit."""

    key: bytes
    certificate: bytes
    ca: bytes
    own: x509.Certificate  # the first in `certificate`


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
    if not any(_issued(own, issuer) for issuer in (*above, *authorities)):
        raise Malformed(f"the certificate {tls.certificate} is not from the authority {tls.ca}; {_ISSUE}")
    return Checked(key, certificate, ca, own)


def ending(tls: TlsConfig, now_ms: int) -> str:
    """What is to be said of the end of the certificate, if it is near or past. Raises Malformed as `checked` does."""
    left_ms = certificates.expires_ms(checked(tls).own) - now_ms
    if left_ms >= WARNING_DAYS * DAY_MS:
        return ""
    when = (
        f"ends in {left_ms // DAY_MS} days" if left_ms > 0 else "has ended, and nobody speaks with this node"
    )
    return f"{tls.certificate} {when}; put a new one for the same key in its place (`chiptrace node certificate`)"


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
