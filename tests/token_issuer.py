"""An issuer of tokens for tests: RSA keys, their JWKS, and tokens with any claims."""

import time
from dataclasses import dataclass, field
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import rsa


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Issuer:
    """Signs tokens with the key of a kid."""

    keys: dict[str, rsa.RSAPrivateKey] = field(default_factory=lambda: {"one": new_key()})

    def jwks(self) -> bytes:
        return orjson.dumps({"keys": [self.jwk(kid) for kid in self.keys]})

    def jwk(self, kid: str) -> dict[str, Any]:
        public = self.keys[kid].public_key()
        told = jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True)
        return {**told, "kid": kid, "use": "sig", "alg": "RS256"}

    def token(self, kid: str = "one", *, key: Any = None, **claims: Any) -> str:
        """Sign a good token, changed by the claims; a claim of None is left out."""
        now_s = int(time.time())
        usual = {"sub": "anna", "iss": "test", "iat": now_s, "exp": now_s + 600, "d": ["raster"]}
        told = {name: value for name, value in (usual | claims).items() if value is not None}
        return jwt.encode(told, key or self.keys[kid], algorithm="RS256", headers={"kid": kid})
