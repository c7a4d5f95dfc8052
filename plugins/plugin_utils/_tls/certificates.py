# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection pgtandem.replication: nothing here is an interface for others.
"""Certificates on the controller: read, judged, made. Texts in PEM in and out; the library is ansible-core's own
dependency C(cryptography)."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import re
import typing as t

from ansible_collections.pgtandem.replication.plugins.module_utils._errors import ReplicationError

# ansible-core needs it, so it is there; only tools that look at this file without running it may lack it.
with contextlib.suppress(ImportError):
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
#: A host's clock may be a little behind the controller's.
_BACK = datetime.timedelta(hours=1)
AUTHORITY_DAYS = 3650


class Pair(t.NamedTuple):
    """A certificate and its private key."""

    certificate: str
    key: str


class Certificate:
    """What a certificate says."""

    def __init__(self, pem: str) -> None:
        try:
            self._x509 = x509.load_pem_x509_certificate(pem.encode())
        except ValueError as error:
            raise ReplicationError(f"It is no certificate in PEM ({error}). Correct it.") from error
        # Of the text only this: there may be a key in it.
        self.pem = self._x509.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def common_name(self) -> str:
        """The subject's common name, empty where it has none."""
        found = self._x509.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(found[0].value) if found else ""

    @property
    def names(self) -> list[str]:
        """The alternative names, as C(DNS:...) and C(IP:...)."""
        try:
            found = self._x509.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return []
        names = [f"DNS:{name}" for name in found.get_values_for_type(x509.DNSName)]
        return sorted(names + [f"IP:{address}" for address in found.get_values_for_type(x509.IPAddress)])

    @property
    def not_after(self) -> datetime.datetime:
        """Until when it holds."""
        # The property with a time zone came with version 42 of the library.
        found = getattr(self._x509, "not_valid_after_utc", None)
        return found or self._x509.not_valid_after.replace(tzinfo=datetime.timezone.utc)

    @property
    def fingerprint(self) -> str:
        """SHA-256, for messages and comparisons."""
        return self._x509.fingerprint(hashes.SHA256()).hex()

    def days_left(self, now: datetime.datetime) -> float:
        """How many days it still holds; negative once it has expired."""
        return (self.not_after - now).total_seconds() / 86400

    def signed_by(self, authority: Certificate) -> bool:
        """Whether an authority signed it."""
        try:
            self._x509.verify_directly_issued_by(authority._x509)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def belongs_to(self, key: str) -> bool:
        """Whether a private key is this certificate's."""
        try:
            private = serialization.load_pem_private_key(key.encode(), password=None)
        except (ValueError, TypeError) as error:
            # Not the library's words: they may quote the file.
            raise ReplicationError("It is no private key in PEM without a passphrase. Correct it.") from error
        form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return self._x509.public_key().public_bytes(*form) == private.public_key().public_bytes(*form)


def certificates_in(text: str | None) -> list[Certificate]:
    """The certificates of a text, in order; what else is in it is left out."""
    return [Certificate(found.group(0)) for found in _BLOCK.finditer(text or "")]


def _key_text(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, *, days: int, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACK)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def make_authority(cluster: str, *, now: datetime.datetime) -> Pair:
    """A certificate authority for one cluster."""
    key = ec.generate_private_key(ec.SECP256R1())
    # The date tells it from one that an earlier folder held.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"pgtandem {cluster} {now:%Y-%m-%d %H:%M}"[:64])])
    made = (
        _builder(name, name, key.public_key(), days=AUTHORITY_DAYS, now=now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(made.public_bytes(serialization.Encoding.PEM).decode(), _key_text(key))


def issue(
    authority: Pair, *, common_name: str, names: t.Sequence[str], server: bool, days: int, now: datetime.datetime
) -> Pair:
    """A certificate for a server with these alternative names, or for a client, with a new key."""
    signer = serialization.load_pem_private_key(authority.key.encode(), password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise ReplicationError(
            "The managed authority's key is not one that this collection made. Use source: controller."
        )
    above = x509.load_pem_x509_certificate(authority.certificate.encode())
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    builder = (
        _builder(subject, above.subject, key.public_key(), days=days, now=now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key()), critical=False)  # type: ignore[arg-type]
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.IPAddress(ipaddress.ip_address(name[3:])) if name.startswith("IP:") else x509.DNSName(name[4:])
                    for name in names
                ]
            ),
            critical=False,
        )
    made = builder.sign(signer, hashes.SHA256())
    return Pair(made.public_bytes(serialization.Encoding.PEM).decode(), _key_text(key))


def why_issue(
    seen: t.Mapping[str, t.Any] | None,
    *,
    authority: Certificate,
    common_name: str,
    names: t.Sequence[str],
    renew_days: int,
    now: datetime.datetime,
) -> str | None:
    """Why what was seen on the host is to be replaced; None where it will do."""
    found = certificates_in((seen or {}).get("certificate"))
    if not found:
        return "there is none yet"
    certificate = found[0]
    if not (seen or {}).get("usable"):
        return "its key is missing or belongs to another"
    if not certificate.signed_by(authority):
        return "another authority signed it"
    if certificate.common_name != common_name[:64]:
        return f"it names {certificate.common_name!r}"
    if certificate.names != sorted(names):
        return f"it is for {', '.join(certificate.names) or 'no address'}"
    left = certificate.days_left(now)
    if left < 0:
        return f"it expired on {certificate.not_after:%Y-%m-%d}"
    if left < renew_days:
        return f"it expires on {certificate.not_after:%Y-%m-%d}"
    return None
