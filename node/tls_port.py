"""A mutual-TLS port whose certificate may be renewed while it is open, and what strangers may take of it."""

import logging
from typing import Final

import grpc

from ledger.errors import Malformed
from node import open_files
from node.config import TlsConfig
from node.logs import Seldom

_LOG: Final = logging.getLogger("chiptrace.tls")
_SELDOM: Final = Seldom(_LOG)  # a handshake asks each time
# Of a connection: who has shown no certificate by then is hung up on. gRPC's own is two minutes.
HANDSHAKE_MS_MAX: Final = 5_000


def options(unread_bytes_max: int) -> tuple[tuple[str, int], ...]:
    """For a server with such a port. `unread_bytes_max`: of one stream, what may come before it is read; without a bound
    gRPC lets it grow with the line, to 256 MiB on a quick one."""
    return (
        ("grpc.max_allowed_incoming_connections", open_files.connections_max()),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS_MAX),
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
    except RuntimeError as error:
        raise OSError(f"cannot listen on {listen}: {error}; is another node running there?") from None
    if bound == 0:
        raise OSError(f"cannot listen on {listen}; is another node running there?")


class _Served:
    """The certificate a port shows, read again when its file has changed."""

    def __init__(self, tls: TlsConfig) -> None:
        self._tls = tls
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
            _SELDOM.warning(
                "the renewed certificate cannot be read; the old one is shown", {"cause": str(error)}
            )
            return None
        self._read_at_ns = changed_ns
        self.current = fresh
        _LOG.info("certificate renewed", extra={"file": str(self._tls.certificate)})
        return fresh

    def _read(self) -> grpc.ServerCertificateConfiguration:
        files = (self._tls.private_key, self._tls.certificate, self._tls.ca)
        try:
            key, certificate, authority = (path.read_bytes() for path in files)
        except OSError as error:
            raise Malformed(
                f"{error.filename} cannot be read: {error.strerror}; issue the certificate"
            ) from None
        return grpc.ssl_server_certificate_configuration([(key, certificate)], authority)
