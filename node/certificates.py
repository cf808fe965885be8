"""X.509 for the doors: one P-256 authority per consortium, certificates for nodes and for clients.

A certificate only opens a door; who may vote is decided by the pin, the SHA-256 of the certificate's public
key, so that a certificate may be renewed with its key and no other node need be told. Nothing here signs a
vote or a transaction.
"""

import datetime as dt
import hashlib
import ipaddress
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ledger.errors import Malformed

AUTHORITY_DAYS: Final = 3_650
CERTIFICATE_DAYS: Final = 365
NAME_BYTES_MAX: Final = 64  # of a common name, by X.520
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_BEGINNING: Final = b"-----BEGIN CERTIFICATE-----"
_BACKDATED: Final = dt.timedelta(minutes=10)  # for a reader whose clock is behind


def create_authority(directory: Path, name: str, now_ms: int) -> None:
    """Make ca.pem and ca-key.pem (0600) of a consortium's authority in `directory`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(f"{name} authority")
    certificate = (
        _builder(subject, subject, key.public_key(), now_ms, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_key(directory / "ca-key.pem", key)
    _write_certificate(directory / "ca.pem", certificate)


def issue(authority: Path, target: Path, name: str, hosts: Sequence[str], now_ms: int) -> str:
    """Issue the certificate `target` (x.pem, with x-key.pem, 0600) from the authority in a directory.

    With hosts (DNS names or addresses) it serves and connects, as a node does; without it only connects. An
    existing key file is kept: then the certificate is renewed. Returns the pin (hexadecimal).
    """
    signer = _read_key(authority / "ca-key.pem")
    issuer = read_certificate(authority / "ca.pem")
    subject = _name(name)
    names = [_general_name(host) for host in hosts] or [x509.DNSName(_host_label(name))]
    key_path = target.with_name(f"{target.stem}-key.pem")
    if key_path.exists():
        key = _read_key(key_path)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        _write_key(key_path, key)
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH] + ([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])
    certificate = (
        _builder(subject, issuer.subject, key.public_key(), now_ms, CERTIFICATE_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    _write_certificate(target, certificate)
    return pin(certificate.public_bytes(serialization.Encoding.PEM))


def read_certificate(path: Path) -> x509.Certificate:
    """The first certificate in a PEM file. Raises Malformed naming the file."""
    return read_certificates(path)[0]


def read_certificates(path: Path) -> list[x509.Certificate]:
    """All certificates in a PEM file, one at least. Raises Malformed naming the file."""
    return parsed(read_pem(path), path)


def read_pem(path: Path) -> bytes:
    """What stands in a file with certificates. Raises Malformed naming it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Malformed(f"certificate {path} cannot be read: {error.strerror}") from None


def parsed(data: bytes, path: Path) -> list[x509.Certificate]:
    """All certificates in what stands in a file, one at least and none torn. Raises Malformed naming the file."""
    try:
        found = x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise Malformed(f"{path} is not a certificate in PEM: {error}") from None
    if len(found) < data.count(_BEGINNING):  # one without its end is passed over in silence
        raise Malformed(f"{path} is not whole: a certificate in it has no end")
    return found


def pin(certificate: bytes) -> str:
    """SHA-256 (hexadecimal) of the public key (SPKI) of a certificate, PEM or DER. Raises Malformed."""
    try:
        is_text = certificate.lstrip().startswith(b"-----")
        load = x509.load_pem_x509_certificate if is_text else x509.load_der_x509_certificate
        public_key = load(certificate).public_key()
        spki = public_key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    except ValueError as error:
        raise Malformed(f"not a certificate: {error}") from None
    return hashlib.sha256(spki).hexdigest()


def names(path: Path) -> list[str]:
    """The hosts and addresses that the certificate in a PEM file is for. Raises Malformed when there are none."""
    try:
        found = read_certificate(path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        found = x509.SubjectAlternativeName([])
    hosts = found.get_values_for_type(x509.DNSName)
    hosts += [str(address) for address in found.get_values_for_type(x509.IPAddress)]
    if not hosts:
        raise Malformed(f"the certificate {path} is for no host; issue one with --host")
    return hosts


def expires_ms(certificate: x509.Certificate) -> int:
    """When it ends, in milliseconds since 1970."""
    return int(certificate.not_valid_after_utc.timestamp()) * 1_000


def untimely(certificate: x509.Certificate, now_ms: int) -> str:
    """What is wrong with its time, or nothing."""
    begins = certificate.not_valid_before_utc
    if now_ms < int(begins.timestamp()) * 1_000:
        return f"is not valid before {begins:%Y-%m-%d %H:%M} UTC"
    if now_ms >= expires_ms(certificate):
        return f"has ended on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    return ""


def _name(common_name: str) -> x509.Name:
    if not 0 < len(common_name.encode()) <= NAME_BYTES_MAX:
        raise Malformed(
            f"the name {common_name[:NAME_BYTES_MAX]!r} must have 1 to {NAME_BYTES_MAX} bytes; give a shorter one"
        )
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host_label(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not _HOST.fullmatch(host):
            raise Malformed(
                f"{host!r} is neither an address nor a DNS name; give the name without a port"
            ) from None
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now_ms: int, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.fromtimestamp(now_ms // 1_000, dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def _write_certificate(path: Path, certificate: x509.Certificate) -> None:
    """Replace in one step: a server that reads it now sees the old one or the new one."""
    fresh = path.with_suffix(".pem.new")
    fresh.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    fresh.replace(path)


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise Malformed(f"private key {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise Malformed(f"{path} is not a private key in PEM: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Malformed(f"{path} is not a P-256 key")
    return key
