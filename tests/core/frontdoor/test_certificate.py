"""The certificate a server makes itself."""

from __future__ import annotations

import datetime
import hashlib
import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from ghostwire.errors import ConfigError, StateError
from ghostwire.frontdoor.certificate import (
    covers,
    ensure_certificate,
    fingerprint,
    given_pair,
    server_context,
    spki_pin,
)

NOW = 1_800_000_000


def test_it_is_p256_for_ten_years_with_the_names_given(tmp_path: Path) -> None:
    certificate, key = ensure_certificate(tmp_path, ["mesh.example", "192.0.2.1", "fd00::1", "münchen.example"], NOW)
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    assert isinstance(loaded.public_key(), ec.EllipticCurvePublicKey)
    assert loaded.public_key().curve.name == "secp256r1"
    start = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    assert loaded.not_valid_before_utc < start < loaded.not_valid_after_utc
    assert (loaded.not_valid_after_utc - start).days == 3650
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"mesh.example", "xn--mnchen-3ya.example"}
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == {"192.0.2.1", "fd00::1"}
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_names_that_no_dns_has_are_left_out(tmp_path: Path) -> None:
    ensure_certificate(tmp_path, ["localhost", "x" * 64, "a..b"], NOW)
    loaded = x509.load_pem_x509_certificate((tmp_path / "tls.crt").read_bytes())
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["localhost"]


def test_it_is_kept(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in ensure_certificate(tmp_path, ["a"], NOW)]
    assert [path.read_bytes() for path in ensure_certificate(tmp_path, ["b"], NOW + 1)] == first


def test_a_lost_certificate_is_made_anew_for_the_same_key(tmp_path: Path) -> None:
    certificate, _ = ensure_certificate(tmp_path, ["a"], NOW)
    pin = spki_pin(certificate)
    certificate.unlink()
    assert spki_pin(ensure_certificate(tmp_path, ["a"], NOW)[0]) == pin


def test_the_fingerprint_is_the_hash_of_the_whole_certificate(tmp_path: Path) -> None:
    certificate, _ = ensure_certificate(tmp_path, ["a"], NOW)
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    assert fingerprint(certificate) == hashlib.sha256(der).hexdigest()


@pytest.mark.parametrize(
    ("name", "covered"), [("a.example", True), ("192.0.2.1", True), ("b.example", False), ("x" * 64, True)]
)
def test_it_tells_which_names_it_is_for(tmp_path: Path, name: str, covered: bool) -> None:
    certificate, _ = ensure_certificate(tmp_path, ["a.example", "192.0.2.1"], NOW)
    assert covers(certificate, name) is covered


@pytest.mark.parametrize(
    ("name", "covered"),
    [("a.example", True), ("A.Example", True), ("b.a.example", False), ("example", False), ("c.d.example", True)],
)
def test_a_star_stands_for_one_label(tmp_path: Path, name: str, covered: bool) -> None:
    certificate, _ = ensure_certificate(tmp_path, ["*.example", "*.D.example"], NOW)
    assert covers(certificate, name) is covered


def test_a_certificate_without_names_is_for_none(tmp_path: Path) -> None:
    assert not covers(ensure_certificate(tmp_path, [], NOW)[0], "a.example")


def test_the_pin_is_the_hash_of_the_public_key(tmp_path: Path) -> None:
    certificate, key = ensure_certificate(tmp_path, [], NOW)
    public = serialization.load_pem_private_key(key.read_bytes(), None).public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert spki_pin(certificate) == hashlib.sha256(der).digest()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize(("version", "accepted"), [(ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_1, False)])
def test_a_client_that_trusts_it_connects_with_tls_1_2_and_up(
    tmp_path: Path, version: ssl.TLSVersion, accepted: bool
) -> None:
    certificate, key = ensure_certificate(tmp_path, ["mesh.example.org"], NOW - 300 * 86400)
    client = ssl.create_default_context(cafile=certificate)
    client.maximum_version = version
    assert shakes_hands(server_context(certificate, key), client) is accepted


def shakes_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> bool:
    left, right = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(left, server_side=True).close()
        except OSError:
            left.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client.wrap_socket(right, server_hostname="mesh.example.org").close()
        return True
    except OSError:
        return False
    finally:
        right.close()
        thread.join()


def test_a_missing_file_is_named_with_its_setting(tmp_path: Path) -> None:
    certificate, key = ensure_certificate(tmp_path, [], NOW)
    with pytest.raises(ConfigError, match=r"server\.certificate: .*gone\.crt: No such file"):
        server_context(tmp_path / "gone.crt", key)
    with pytest.raises(ConfigError, match=r"server\.certificate_key: .*gone\.key: No such file"):
        server_context(certificate, tmp_path / "gone.key")
    with pytest.raises(ConfigError, match="No such file"):
        spki_pin(tmp_path / "gone.crt")


def test_a_key_of_another_certificate_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    certificate, _ = ensure_certificate(tmp_path / "a", [], NOW)
    _, key = ensure_certificate(tmp_path / "b", [], NOW)
    with pytest.raises(ConfigError, match="do not belong together"):
        server_context(certificate, key)


def test_files_that_are_no_pem_are_named(tmp_path: Path) -> None:
    certificate, key = ensure_certificate(tmp_path, [], NOW)
    junk = tmp_path / "junk"
    junk.write_text("junk")
    for pair in ((junk, key), (certificate, junk)):
        with pytest.raises(ConfigError, match=r"junk .*do not make a PEM certificate and its key"):
            server_context(*pair)
    with pytest.raises(ConfigError, match=r"tls\.crt alone do not make a PEM certificate and its key"):
        server_context(certificate, certificate)
    with pytest.raises(ConfigError, match="not a PEM certificate"):
        spki_pin(junk)


def test_the_given_files_are_two_or_one_and_no_key_alone() -> None:
    assert given_pair("", "") is None
    assert given_pair("a.crt", "a.key") == (Path("a.crt"), Path("a.key"))
    assert given_pair("both.pem", "") == (Path("both.pem"), Path("both.pem"))
    with pytest.raises(ConfigError, match=r"relay\.certificate_key: names a key without its certificate"):
        given_pair("", "a.key", "relay")


def test_an_encrypted_key_is_refused_without_asking_anybody(tmp_path: Path) -> None:
    certificate, key = ensure_certificate(tmp_path, [], NOW)
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"pw")
    key.write_bytes(loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    with pytest.raises(ConfigError, match="the key is encrypted; store it without a passphrase"):
        server_context(certificate, key)


@pytest.mark.parametrize("kind", ["junk", "ed25519"])
def test_a_damaged_key_of_ours_is_not_replaced_in_silence(tmp_path: Path, kind: str) -> None:
    other = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "tls.key").write_bytes(b"junk" if kind == "junk" else other)
    with pytest.raises(StateError, match="restore or remove it"):
        ensure_certificate(tmp_path, [], NOW)
