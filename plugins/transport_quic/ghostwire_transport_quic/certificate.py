"""The node's own certificate and key: made once, kept in the state folder, known to others by its pin."""

from __future__ import annotations

import datetime
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec

from ghostwire.errors import PlatformError

FILE = "quic.pem"
_BORN, _ENDS = datetime.datetime(2020, 1, 1), datetime.datetime(9999, 12, 31)


class Credentials(NamedTuple):
    """PEM texts of the certificate and of its private key, and the pin that endpoints carry."""

    certificate: bytes
    key: bytes
    pin: bytes


def spki_pin(der: bytes) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo of a certificate in DER; ValueError where it is none."""
    key = x509.load_der_x509_certificate(der).public_key()
    return hashlib.sha256(key.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)).digest()


def make_credentials() -> tuple[bytes, bytes]:
    """Certificate and key in PEM. P-256, which both libraries ask for by default; it names nobody."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ghostwire")])
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), _BORN, _ENDS)
    secret = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    return built.sign(key, hashes.SHA256()).public_bytes(form.Encoding.PEM), secret


def load_credentials(folder: Path) -> Credentials:
    """Those of this state folder, made where there are none; PlatformError where they cannot be kept or read."""
    path = folder / FILE
    try:
        if not path.exists():
            _write(path, b"".join(make_credentials()))
        mode, content = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise PlatformError(f"{path}: {error.strerror}: it must be readable, its folder writable") from error
    if mode & 0o077:
        raise PlatformError(f"{path} is readable by others: chmod 600 {path}")
    try:
        return _parse(content)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = str(error).partition("\n")[0][:120]
        raise PlatformError(f"{path} is spoilt ({reason}): remove it to have a new identity made") from error


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and readable by nobody else at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


def _parse(content: bytes) -> Credentials:
    certificate = x509.load_pem_x509_certificate(content)
    key = content[content.index(b"-----BEGIN PRIVATE KEY-----") :]
    public = form.load_pem_private_key(key, None).public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey) or public != certificate.public_key():
        raise ValueError("certificate and key do not belong together")
    return Credentials(
        certificate.public_bytes(form.Encoding.PEM), key, spki_pin(certificate.public_bytes(form.Encoding.DER))
    )
