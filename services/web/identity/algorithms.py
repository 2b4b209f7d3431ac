"""The algorithms that a token may be signed with: RFC 7518, section 3.1, and RFC 8037.

All are asymmetric. With a shared secret, this service could make tokens itself; and a public key
that is taken for one lets everybody make them.
"""

from __future__ import annotations

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})

OF_KEY = {
    ("RSA", None): _RSA,
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
    ("OKP", "Ed448"): frozenset({"EdDSA"}),
}
"""What a key can be used for, by its kty and crv."""
ALGORITHMS: frozenset[str] = frozenset().union(*OF_KEY.values())
"""All of them."""
