"""Unmodified programs of the field in the lab's members: Tailscale's relay `derper`, and `tailcat` with its client.

`derper` is found as the relay benchmark finds it; `tailcat` is the binary of the package pytailcat.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from natlab import Lab
from netns import in_netns
from programs import wait_for

from ghostwire.frontdoor.certificate import ensure_certificate

REGION = 940
MAP_PORT = 8099
NO_TAILCAT = "needs tailcat: pip install pytailcat"
NO_DERPER = "needs derper: go install tailscale.com/cmd/derper@v1.102.0, or its path in GHOSTWIRE_DERPER"
_PRIVATE_KEY = "privkey:" + "9" * 64


def find_derper() -> str | None:
    """GHOSTWIRE_DERPER, or ``derper`` on PATH or where Go installs it."""
    named = os.environ.get("GHOSTWIRE_DERPER") or shutil.which("derper")
    if named or not shutil.which("go"):
        return named
    folder = subprocess.run(["go", "env", "GOPATH"], capture_output=True, text=True).stdout.strip()
    return shutil.which("derper", path=f"{folder}/bin")


def find_tailcat() -> str | None:
    """Beside this Python, or on PATH."""
    return shutil.which("tailcat", path=Path(sys.executable).parent) or shutil.which("tailcat")


def certificate_hash(certificate: Path) -> str:
    """SHA-256 of a PEM file's one certificate, as a DERP map pins it."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()


@dataclass
class Derper:
    """The stock relay on a member's address, with a certificate of its own; it trusts those in the file ``roots``."""

    lab: Lab
    member: str
    folder: Path
    port: int = 443
    options: Sequence[str] = ()
    roots: Path | None = None
    process: subprocess.Popen[Any] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return self.lab.addresses[self.member]

    @property
    def pin(self) -> str:
        return certificate_hash(self.folder / "tls.crt")

    def certify(self) -> None:
        """Make its certificate."""
        self.folder.mkdir(exist_ok=True)
        certificate, key = ensure_certificate(self.folder, [self.address], int(time.time()))
        shutil.copy(certificate, self.folder / f"{self.address}.crt")
        shutil.copy(key, self.folder / f"{self.address}.key")

    def start(self) -> None:
        self.certify()
        config = self.folder / "derper.json"
        config.write_text(json.dumps({"PrivateKey": _PRIVATE_KEY}))
        words = [find_derper() or "derper", "-c", str(config), "-a", f"{self.address}:{self.port}", "-http-port", "-1"]
        words += ["-certmode", "manual", "-certdir", str(self.folder), "-hostname", self.address, *self.options]
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL}
        if self.roots:
            options["env"] = {**os.environ, "SSL_CERT_FILE": str(self.roots)}
        with self.log.open("ab") as log:
            self.process = self.lab.popen(self.member, words, stdout=log, stderr=log, **options)
        wait_for("derper serves", lambda: "derper: serving on" in self.text())

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def text(self) -> str:
        return self.log.read_text(errors="replace")


def derp_map(address: str, port: int, pin: str, *, stun_port: int = 3478) -> dict[str, Any]:
    """A stock DERP map of one relay, which shows the certificate with this hash."""
    node = {"Name": f"{REGION}a", "RegionID": REGION, "HostName": address, "IPv4": address, "IPv6": "none"}
    node |= {"DERPPort": port, "STUNPort": stun_port, "CertName": f"sha256-raw:{pin}"}
    return {"Regions": {str(REGION): {"RegionID": REGION, "RegionCode": "lab", "RegionName": "lab", "Nodes": [node]}}}


class MapServer:
    """Serves a DERP map on a member's loopback, where clients take it over plain HTTP."""

    url = f"http://127.0.0.1:{MAP_PORT}/"

    def __init__(self, lab: Lab, member: str, document: dict[str, Any]) -> None:
        with in_netns(lab.ns(member)):
            self._server = http.server.ThreadingHTTPServer(("127.0.0.1", MAP_PORT), _answering(json.dumps(document)))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _answering(text: str) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None: ...

    return Handler


class Tailcat:
    """``tailcat`` waiting in a member for one connection, whose bytes it writes to ``output``; or passing those to a
    port on to the same port of the member's loopback, where it is to ``serve`` one."""

    def __init__(self, lab: Lab, member: str, folder: Path, serve: int | None = None) -> None:
        self.lab, self.member, self._address = lab, member, folder / f"{member}.address"
        self.output, self.log = folder / f"{member}.output", folder / f"{member}.log"
        words = _words("--full-address", "--verbose", *([f"--serve={serve}"] if serve else []))
        environment = _environment(folder) | {"TAILCAT_ADDR_FILE": str(self._address)}
        with self.output.open("wb") as output, self.log.open("wb") as log:
            self._process = lab.popen(
                member, words, stdin=subprocess.DEVNULL, stdout=output, stderr=log, env=environment
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()

    def ready(self) -> None:
        """Wait until it is at its home relay."""
        wait_for("tailcat is at its relay", lambda: " connected; connGen=" in self.text())

    @property
    def address(self) -> str:
        return self._address.read_text().strip()

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def endpoint(self) -> str:
        """Where relays see it, once it has asked them."""
        wait_for("tailcat knows its endpoints", lambda: " (stun)" in self.text())
        return self.text().partition(" (stun)")[0].split()[-1]

    def ask(self, member: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run another tailcat as its client: ``ping``, or nothing to send it ``stdin``."""
        return ask(self.lab, member, self.log.parent, *words, self.address, stdin=stdin)

    def begin(self, member: str, *words: str) -> subprocess.Popen[str]:
        """Let another tailcat begin as its client and say what it does, line by line."""
        command = [*_words("--verbose"), *words, self.address]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return self.lab.popen(member, command, env=_environment(self.log.parent), text=True, **pipes)


def ask(lab: Lab, member: str, folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a tailcat with these words in a member, as the client of the server whose token is among them."""
    return lab.run(member, [*_words(), *words], input=stdin, env=_environment(folder), timeout=40)


def connect(lab: Lab, member: str, folder: Path, token: str, port: int) -> subprocess.Popen[bytes]:
    """Run a tailcat in a member that carries its standard input and output to a server's port; its log is
    ``MEMBER.log`` in the folder."""
    with (folder / f"{member}.log").open("wb") as log:
        options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log, "bufsize": 0}
        words = [*_words("--verbose"), token, str(port)]
        return lab.popen(member, words, env=_environment(folder), **options)


def _words(*options: str) -> list[str]:
    return [find_tailcat() or "tailcat", f"--derpmap-url={MapServer.url}", "--key=new", *options]


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(folder)}
