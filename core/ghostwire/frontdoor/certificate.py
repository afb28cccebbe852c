"""The front door's TLS certificate: made by itself unless it is given one."""

from __future__ import annotations

import datetime
import hashlib
import ssl
from collections.abc import Iterable
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from ghostwire.errors import ConfigError, StateError
from ghostwire.keys import write_private

CERTIFICATE = "tls.crt"
KEY = "tls.key"
LIFETIME = datetime.timedelta(days=3650)
_BACKDATED = datetime.timedelta(days=1)
"""So that a client whose clock is a little behind accepts it."""


def given_pair(certificate: str, key: str, section: str = "server") -> tuple[Path, Path] | None:
    """(certificate, key) as the settings name them; the key may be in the certificate's file. None where none is."""
    if key and not certificate:
        raise ConfigError("names a key without its certificate", key=f"{section}.certificate_key")
    return (Path(certificate), Path(key or certificate)) if certificate else None


def ensure_certificate(folder: Path, names: Iterable[str], now: int) -> tuple[Path, Path]:
    """(certificate, key) in ``folder``, self-signed for these host names and addresses if they are not there yet.

    ``now`` is Unix seconds. An existing pair is used as it is, since join tokens pin its key; where only the
    certificate is missing, a new one is made for the key that is there.
    """
    certificate, key = folder / CERTIFICATE, folder / KEY
    if not key.exists():
        write_private(key, _pem(ec.generate_private_key(ec.SECP256R1())))
        certificate.unlink(missing_ok=True)
    if not certificate.exists():
        renew_certificate(folder, names, now)
    return certificate, key


def renew_certificate(folder: Path, names: Iterable[str], now: int) -> None:
    """Replace the certificate in ``folder`` by one for these names and the same key, in one step."""
    signed = _self_signed(_load_key(folder / KEY), sorted(filter(_nameable, set(names))), now)
    write_private(folder / CERTIFICATE, signed)


def server_context(certificate: Path, key: Path, section: str = "server") -> ssl.SSLContext:
    """A TLS context (1.2 and up) for the front door; ConfigError says which file is missing or does not fit.

    ``section`` is the table of ghostwire.toml that names the files.
    """
    for name, path in (("certificate", certificate), ("certificate_key", key)):
        _check_readable(f"{section}.{name}", path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.num_tickets = 0  # nodes never resume: two tickets each would be an eighth of what a handshake costs
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=partial(_no_password, section, key))
    except ssl.SSLError as error:
        files = f"{certificate} and {key}" if key != certificate else f"{certificate} alone"
        fault = "belong together" if error.reason == "KEY_VALUES_MISMATCH" else "make a PEM certificate and its key"
        raise ConfigError(f"{files} do not {fault}", key=f"{section}.certificate") from None
    return context


def spki_pin(certificate: Path) -> bytes:
    """SHA-256 of the certificate's SubjectPublicKeyInfo (RFC 7469), 32 bytes; stays when a key is certified anew."""
    info = _load(certificate).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(info).digest()


def fingerprint(certificate: Path, section: str = "server") -> str:
    """SHA-256 of the whole certificate (DER) in hex where it is self-signed; empty where its issuer vouches for it."""
    loaded = _load(certificate, section)
    return loaded.fingerprint(hashes.SHA256()).hex() if loaded.issuer == loaded.subject else ""


def digest(certificate: Path) -> bytes:
    """SHA-256 of the whole certificate (DER), 32 bytes: what binds a proof to it."""
    return _load(certificate).fingerprint(hashes.SHA256())


def covers(certificate: Path, name: str) -> bool:
    """Whether a certificate is for this host name or address (RFC 6125), as far as one can be."""
    if not _nameable(name):
        return True
    wanted = _general_name(name.lower())
    star = x509.DNSName(f"*.{wanted.value.partition('.')[2]}") if isinstance(wanted, x509.DNSName) else wanted
    try:
        extension = _load(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return False
    return any(held in (wanted, star) for held in map(_lower, extension.value))


def _lower(name: x509.GeneralName) -> x509.GeneralName:
    return x509.DNSName(name.value.lower()) if isinstance(name, x509.DNSName) else name


def _load(certificate: Path, section: str = "server") -> x509.Certificate:
    _check_readable(f"{section}.certificate", certificate)
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes())
    except ValueError:
        raise ConfigError(f"{certificate} is not a PEM certificate", key=f"{section}.certificate") from None


def _check_readable(name: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", key=name) from None


def _no_password(section: str, path: Path) -> str:
    raise ConfigError(f"{path}: the key is encrypted; store it without a passphrase", key=f"{section}.certificate_key")


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise StateError(f"{path}: not a usable TLS key ({error}); restore or remove it") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise StateError(f"{path}: not an ECDSA key; restore or remove it")
    return key


def _self_signed(key: ec.EllipticCurvePrivateKey, names: list[str], now: int) -> bytes:
    start = datetime.datetime.fromtimestamp(now, datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "GhostWire")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - _BACKDATED)
        .not_valid_after(start + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    if names:
        alternatives = x509.SubjectAlternativeName(list(map(_general_name, names)))
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _nameable(name: str) -> bool:
    """Whether a certificate can hold it: machines may have names that no DNS has."""
    try:
        _general_name(name)
    except ValueError:
        return False
    return True


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode("ascii"))
