"""Certificates of an engine and of its client, signed by an authority that is nowhere but in these files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

Key = ec.EllipticCurvePrivateKey


def write(folder: Path, host: str) -> None:
    """`ca.pem`; `server.pem` and `server-key.pem` for the address `host`; `cert.pem` and `key.pem` of a client."""
    authority = ec.generate_private_key(ec.SECP256R1())
    root = _signed("authority", authority, "authority", authority, [(x509.BasicConstraints(True, None), True)])
    (folder / "ca.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    of_server: list[tuple[x509.ExtensionType, bool]] = [
        (x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
    ]
    of_client: list[tuple[x509.ExtensionType, bool]] = [
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
    ]
    for name, key_name, extensions in (("server", "server-key", of_server), ("cert", "key", of_client)):
        key = ec.generate_private_key(ec.SECP256R1())
        signed = _signed(name, key, "authority", authority, extensions)
        (folder / f"{name}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        (folder / f"{key_name}.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def _signed(
    subject: str, key: Key, issuer: str, signer: Key, extensions: list[tuple[x509.ExtensionType, bool]]
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, hashes.SHA256())
