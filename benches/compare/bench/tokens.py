"""Keys and tokens. Made once and kept below target/, since RSA signs slowly."""

import base64
import json
import multiprocessing
import os
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

ISSUER = "https://issuer.example"
AUDIENCE = "api"
NEW = {"RS256": 60_000, "ES256": 40_000}
"""How many there are that come once."""
LIFETIME = 30 * 86_400
BIG = 50_000


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Keys:
    """One key of each algorithm, as PEM and JWKS."""

    def __init__(self, folder):
        self.folder = folder
        self.private = {algorithm: self._key(algorithm) for algorithm in ("RS256", "ES256")}
        self.pem, self.jwks = {}, {"keys": []}
        for algorithm, key in self.private.items():
            self.pem[algorithm] = folder / f"{algorithm}.public.pem"
            self.pem[algorithm].write_bytes(
                key.public_key().public_bytes(
                    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
                )
            )
            self.jwks["keys"].append(jwk(key, algorithm, f"bench-{algorithm}"))
        self.jwks_file = folder / "keys.json"
        self.publish(self.jwks["keys"])

    def publish(self, keys):
        """Puts these into the file of keys, at once."""
        next_file = self.jwks_file.with_name("keys.next")
        next_file.write_text(json.dumps({"keys": keys}))
        os.replace(next_file, self.jwks_file)

    def _key(self, algorithm):
        file = self.folder / f"{algorithm}.pem"
        if file.exists():
            return serialization.load_pem_private_key(file.read_bytes(), None)
        key = rsa.generate_private_key(65537, 2048) if algorithm == "RS256" else ec.generate_private_key(ec.SECP256R1())
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return key

    def token(self, algorithm, **claims):
        """One good token, but for what `claims` say."""
        return sign(self.private[algorithm], algorithm, f"bench-{algorithm}", claims)

    def bad(self, algorithm):
        """A good token's head and claims with the signature of another."""
        return crossed([self.token(algorithm, sub="a"), self.token(algorithm, sub="b")])[0]

    def big(self, algorithm):
        """A token of exactly `BIG` characters, or up to two less."""
        fill = (BIG - len(self.token(algorithm, groups=[""]))) * 3 // 4
        groups = [f"group-{index:04}" for index in range(fill // 13 - 1)]
        padding_length = (BIG - len(self.token(algorithm, groups=[*groups, ""]))) * 3 // 4
        return self.token(algorithm, groups=[*groups, "x" * padding_length])

    def new(self, algorithm, count=0):
        """A file of tokens, one a line."""
        count = count or NEW[algorithm]
        file = self.folder / f"{algorithm}.{count}"
        if not file.exists() or file.stat().st_mtime < time.time() - LIFETIME + 86_400:
            print(f"signing {count} {algorithm} tokens, once", flush=True)
            with multiprocessing.Pool() as pool:
                work = [(self.private_pem(algorithm), algorithm, first) for first in range(0, count, 1000)]
                tokens = [token for part in pool.starmap(some, work) for token in part]
            file.write_text("\n".join(tokens) + "\n")
        return file

    def refused(self, algorithm):
        """A file of tokens, each with the signature of the next."""
        good = self.new(algorithm)
        file = self.folder / f"{algorithm}.refused"
        if not file.exists() or file.stat().st_mtime < good.stat().st_mtime:
            file.write_text("\n".join(crossed(good.read_text().split())) + "\n")
        return file

    def private_pem(self, algorithm):
        return (self.folder / f"{algorithm}.pem").read_bytes()


def jwk(key, algorithm, kid):
    numbers = key.public_key().public_numbers()
    if algorithm == "RS256":
        members = {"kty": "RSA", "n": encode(numbers.n.to_bytes(256, "big")), "e": "AQAB"}
    else:
        x, y = (encode(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        members = {"kty": "EC", "crv": "P-256", "x": x, "y": y}
    return {**members, "kid": kid, "alg": algorithm, "use": "sig"}


def sign(key, algorithm, kid, claims):
    now = int(time.time())
    head = {"alg": algorithm, "typ": "JWT", "kid": kid}
    body = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "user-000000",
        "client_id": "bench",
        "scope": "orders:read orders:write",
        "iat": now,
        "exp": now + LIFETIME,
        **claims,
    }
    message = ".".join(encode(json.dumps(part, separators=(",", ":")).encode()) for part in (head, body))
    if algorithm == "RS256":
        signature = key.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256())
    else:
        r, s = utils.decode_dss_signature(key.sign(message.encode(), ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return f"{message}.{encode(signature)}"


def some(pem, algorithm, first):
    key = serialization.load_pem_private_key(pem, None)
    kid = f"bench-{algorithm}"
    return [sign(key, algorithm, kid, {"sub": f"user-{number:06}"}) for number in range(first, first + 1000)]


def crossed(tokens):
    signatures = [token.rpartition(".")[2] for token in tokens]
    others = signatures[1:] + signatures[:1]
    return [f"{token.rpartition('.')[0]}.{other}" for token, other in zip(tokens, others)]
