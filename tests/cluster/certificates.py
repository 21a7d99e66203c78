"""Certificates of one cluster, made anew for it by the `openssl` program."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

_DAYS = "30"
_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True, slots=True)
class Pair:
    """The files of a certificate and its private key."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that keeps its files in a folder."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, name: str) -> Authority:
        """Make a new authority; whoever trusts it trusts all that this folder's key signs."""
        folder.mkdir(parents=True, mode=0o700)
        authority = cls(folder)
        usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"]
        _request(authority.own, f"/CN={name}", usage)
        return authority

    @property
    def own(self) -> Pair:
        """Return the authority's own pair."""
        return self.pair("ca")

    def pair(self, name: str) -> Pair:
        """Return a pair that was issued."""
        return Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")

    def issue(
        self, name: str, *, common_name: str = "", groups: tuple[str, ...] = (), hosts: str = ""
    ) -> Pair:
        """Issue a certificate for a server, a client, or both.

        Args:
            name: of the files.
            common_name: whom Kubernetes takes the client for; the file's name if empty.
            groups: those the client is in.
            hosts: for which a server may use it, as in `DNS:localhost,IP:127.0.0.1`.
        """
        pair = self.pair(name)
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={common_name or name}"
        extensions = [
            *("-CA", str(self.own.certificate), "-CAkey", str(self.own.key)),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-addext", "keyUsage=critical,digitalSignature"),
            *("-addext", "extendedKeyUsage=serverAuth,clientAuth"),
        ]
        if hosts:
            extensions += ["-addext", f"subjectAltName={hosts}"]
        _request(pair, subject, extensions)
        return pair

    def trust(self, client: Pair | None = None) -> ssl.SSLContext:
        """Return what a client here needs to trust its servers, and to be known to them."""
        context = ssl.create_default_context(cafile=str(self.own.certificate))
        if client is not None:
            context.load_cert_chain(client.certificate, client.key)
        return context


def signing_key(target: Path) -> Path:
    """Make the key that signs the tokens of service accounts."""
    # Not `genpkey`: the apiserver finds the public part of an EC key in no PKCS #8 file.
    _openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", target)
    return target


def _request(pair: Pair, subject: str, extensions: list[str]) -> None:
    # Slashes separate the parts of the subject, colons are common in Kubernetes' names.
    files = ("-keyout", pair.key, "-out", pair.certificate)
    _openssl("req", "-x509", "-days", _DAYS, "-subj", subject, *_CURVE, *files, *extensions)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
