"""Plugins of third parties, installed for one test; and certificates that an authority signed."""

import datetime
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Issue = Callable[[str], tuple[Path, Path]]
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """``install(name, source, ...)`` makes a distribution with one plugin importable, and gives its folder.

    ``source`` None leaves the module out. A fresh process finds it too, through PYTHONPATH.
    """
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    before = set(sys.modules)

    def install(
        name: str,
        source: str | None,
        *,
        roles: Sequence[str] = ("server", "node", "ctl"),
        distribution: str | None = None,
        metadata: str = "",
    ) -> Path:
        distribution = distribution or f"third-party-{name.replace('_', '-')}"
        module = f"{distribution.replace('-', '_')}_{name}"
        info = site / f"{distribution.replace('-', '_')}-2.5.dist-info"
        info.mkdir()
        extras = f" [{','.join(roles)}]" if roles else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.5\n{metadata}")
        (info / "entry_points.txt").write_text(f"[ghostwire.plugins]\n{name} = {module}{extras}\n")
        if source is not None:
            (site / f"{module}.py").write_text(source)
        importlib.invalidate_caches()
        return site

    yield install
    for added in set(sys.modules) - before:
        if getattr(sys.modules[added], "__file__", None) and str(site) in str(sys.modules[added].__file__):
            del sys.modules[added]


@pytest.fixture
def issue(tmp_path: Path) -> Issue:
    """``issue(host)`` gives (certificate, key) for that host, signed by an authority that nobody knows."""
    authority = ec.generate_private_key(ec.SECP256R1())

    def issue(host: str) -> tuple[Path, Path]:
        certificate, keyfile = tmp_path / f"{host}.crt", tmp_path / f"{host}.key"
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(_name("authority"), _name(host), key.public_key(), 1)
        builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        signed = builder.sign(authority, hashes.SHA256())
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        keyfile.write_bytes(key.private_bytes(serialization.Encoding.PEM, *_UNLOCKED))
        return certificate, keyfile

    return issue


_UNLOCKED = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
