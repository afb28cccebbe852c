"""Certificates: a node's own, and the pins by which others know theirs."""

from __future__ import annotations

import datetime
import hashlib

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec

from ghostwire_transport_quic.keyfile import Credentials

_BORN, _ENDS = datetime.datetime(2020, 1, 1), datetime.datetime(9999, 12, 31)


def spki_pin(der: bytes) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo of a certificate in DER; ValueError where it is none."""
    key = x509.load_der_x509_certificate(der).public_key()
    return hashlib.sha256(key.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)).digest()


def make_pem() -> bytes:
    """A new certificate, its public and its private key. P-256, which both libraries ask for by default; it names
    nobody."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ghostwire")])
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), _BORN, _ENDS)
    return (
        built.sign(key, hashes.SHA256()).public_bytes(form.Encoding.PEM)
        + key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
        + key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    )


def check(own: Credentials) -> None:
    """PlatformError where these do not belong together, or are not what `make_pem` makes."""
    try:
        certificate = x509.load_pem_x509_certificate(own.certificate)
        public = form.load_pem_private_key(own.key, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise own.spoilt(str(error)) from error
    shown = spki_pin(certificate.public_bytes(form.Encoding.DER))
    if not isinstance(public, ec.EllipticCurvePublicKey) or public != certificate.public_key() or shown != own.pin:
        raise own.spoilt("certificate and keys do not belong together")
