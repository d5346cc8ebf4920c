"""Tokens: which are trusted, which are refused, and with what words."""

import base64
import hashlib
import hmac
import time

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from app.ingress.auth.key_set import KeySetUnreadable, parse_key_set
from app.ingress.auth.refusals import NotAllowed, NotAuthenticated
from app.ingress.auth.tokens import LEEWAY_S, TokenRules, TokenVerifier
from app.ingress.identity import Identity
from tests.token_issuer import Issuer, new_key


class FixedKeys:
    """A keychain of one set."""

    def __init__(self, jwks: bytes) -> None:
        self.keys = parse_key_set(jwks, "test")

    async def find(self, kid: str) -> jwt.PyJWK | None:
        return self.keys.get(kid)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def verifier(issuer) -> TokenVerifier:
    return TokenVerifier(FixedKeys(issuer.jwks()), TokenRules())


async def refused(verifier: TokenVerifier, token: str, kind=NotAuthenticated) -> str:
    with pytest.raises(kind) as told:
        await verifier.verify(token)
    assert token == "" or token not in str(told.value)
    return str(told.value)


async def test_a_good_token_tells_whose_it_is_and_until_when(verifier, issuer):
    bearer = await verifier.verify(issuer.token(exp=4_000_000_000))
    assert bearer.identity == Identity("anna", is_administrator=False)
    assert (bearer.expires_at_s, bearer.origins) == (4_000_000_000, None)


@pytest.mark.parametrize("domains", ["raster", "RASTER", ["dem", "Raster"]])
async def test_raster_counts_in_any_case_alone_or_in_a_list(verifier, issuer, domains):
    await verifier.verify(issuer.token(d=domains))


@pytest.mark.parametrize(
    "domains", [None, "", [], "dem", ["rasters"], "raster,dem", 5, [["raster"]]]
)
async def test_a_good_token_without_raster_is_not_allowed(verifier, issuer, domains):
    assert "raster" in await refused(verifier, issuer.token(d=domains), NotAllowed)


async def test_origins_come_alone_or_in_a_list(verifier, issuer):
    assert (await verifier.verify(issuer.token(ao="https://a"))).origins == ("https://a",)
    assert (await verifier.verify(issuer.token(ao=["x", "y"]))).origins == ("x", "y")
    assert (await verifier.verify(issuer.token(ao=7))).origins == ()


async def test_a_claim_makes_an_administrator(issuer):
    keys = FixedKeys(issuer.jwks())
    usual, other = (
        TokenVerifier(keys, TokenRules()),
        TokenVerifier(keys, TokenRules("test", "g", "x")),
    )
    assert (await usual.verify(issuer.token(role="admin"))).identity.is_administrator
    assert (await usual.verify(issuer.token(role=["a", "admin"]))).identity.is_administrator
    assert not (await usual.verify(issuer.token(role="administrator"))).identity.is_administrator
    assert not (await usual.verify(issuer.token(role={"admin": True}))).identity.is_administrator
    assert (await other.verify(issuer.token(g="x"))).identity.is_administrator
    assert not (await other.verify(issuer.token(role="admin"))).identity.is_administrator


async def test_an_expired_token_is_refused(verifier, issuer):
    late = issuer.token(exp=int(time.time()) - LEEWAY_S - 5)
    assert "expired" in await refused(verifier, late)


async def test_a_token_that_is_not_valid_yet_is_refused(verifier, issuer):
    later = int(time.time()) + LEEWAY_S + 60
    assert "not valid yet" in await refused(verifier, issuer.token(nbf=later))
    assert "not valid yet" in await refused(verifier, issuer.token(iat=later))


@pytest.mark.parametrize("claim", ["sub", "exp"])
async def test_a_token_without_a_required_claim_is_refused(verifier, issuer, claim):
    assert f"has no {claim}" in await refused(verifier, issuer.token(**{claim: None}))


@pytest.mark.parametrize("subject", ["", "a" * 257, "a\nb", 7, "(link)"])
async def test_a_sub_that_is_no_name_is_refused(verifier, issuer, subject):
    now_s = int(time.time())
    claims = {"sub": subject, "exp": now_s + 60, "d": "raster"}
    # PyJWT signs no such sub; an issuer may.
    head, body = ({"alg": "RS256", "kid": "one"}, claims)
    token = jwt.api_jws.encode(orjson.dumps(body), issuer.keys["one"], "RS256", headers=head)
    await refused(verifier, token)


async def test_the_issuer_must_be_the_one_of_the_settings(issuer):
    verifier = TokenVerifier(FixedKeys(issuer.jwks()), TokenRules(issuer="us"))
    await verifier.verify(issuer.token(iss="us"))
    assert "iss is not" in await refused(verifier, issuer.token(iss="them"))
    assert "has no iss" in await refused(verifier, issuer.token(iss=None))


async def test_a_kid_that_nobody_published_is_refused(verifier, issuer):
    key = issuer.keys["one"]
    assert "no key has it" in await refused(verifier, issuer.token("two", key=key))


async def test_the_key_of_somebody_else_under_our_kid_is_refused(verifier, issuer):
    assert "cannot be trusted" in await refused(verifier, issuer.token("one", key=new_key()))


async def test_a_token_without_a_kid_is_refused(verifier, issuer):
    claims = {"sub": "anna", "exp": 4_000_000_000, "d": "raster"}
    token = jwt.encode(claims, issuer.keys["one"], algorithm="RS256")
    assert "no kid" in await refused(verifier, token)


def by_hand(head: dict, claims: dict, sign=lambda _: b"") -> str:
    def text(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    signed = f"{text(orjson.dumps(head))}.{text(orjson.dumps(claims))}"
    return f"{signed}.{text(sign(signed.encode()))}"


CLAIMS = {"sub": "anna", "exp": 4_000_000_000, "d": "raster"}


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None])
async def test_a_token_that_is_not_signed_is_refused(verifier, algorithm):
    assert "RS256" in await refused(verifier, by_hand({"alg": algorithm, "kid": "one"}, CLAIMS))


async def test_the_public_key_taken_as_a_shared_secret_signs_nothing(verifier, issuer):
    """Algorithm confusion: HS256 with what everybody can read in the JWKS."""
    public = issuer.keys["one"].public_key()
    for encoding, form in (
        (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
    ):
        secret = public.public_bytes(encoding, form)
        for algorithm in ("HS256", "RS256"):
            token = by_hand(
                {"alg": algorithm, "kid": "one"},
                CLAIMS,
                lambda text, secret=secret: hmac.new(secret, text, hashlib.sha256).digest(),
            )
            await refused(verifier, token)


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
async def test_another_algorithm_with_the_right_key_is_refused(verifier, issuer, algorithm):
    token = jwt.encode(CLAIMS, issuer.keys["one"], algorithm=algorithm, headers={"kid": "one"})
    assert "only RS256" in await refused(verifier, token)


async def test_a_key_that_the_token_brings_along_is_not_used(verifier, issuer):
    own = Issuer({"own": new_key()})
    for extra in ({"jwk": own.jwk("own")}, {"jku": "http://evil.example/jwks"}):
        token = jwt.encode(
            CLAIMS, own.keys["own"], algorithm="RS256", headers={"kid": "one", **extra}
        )
        await refused(verifier, token)


@pytest.mark.parametrize(
    "token", ["", "x", "a.b.c", "..", "é.é.é", "e30.e30.", "\x00", "a" * 10_000, "W10.e30.AA"]
)
async def test_what_is_no_token_is_refused(verifier, token):
    await refused(verifier, token)


async def test_a_token_changed_in_one_place_is_refused(verifier, issuer):
    head, body, signature = issuer.token().split(".")
    other = issuer.token(sub="berta").split(".")[1]
    await refused(verifier, f"{head}.{other}.{signature}")
    await refused(verifier, f"{head}.{body}.{signature[:-8]}AAAAAAAA")
    await refused(verifier, f"{head}.{body}.")


def test_only_keys_that_may_sign_are_taken(issuer):
    good = issuer.jwk("one")
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    others = [
        {"kty": "oct", "kid": "one", "k": "c2VjcmV0"},
        {**good, "kid": "enc", "use": "enc"},
        {**good, "kid": "ps", "alg": "PS256"},
        {name: value for name, value in good.items() if name != "kid"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        Issuer({"small": small}).jwk("small"),
    ]
    keys = parse_key_set(orjson.dumps({"keys": [*others, good]}), "test")
    assert list(keys) == ["one"]
    with pytest.raises(KeySetUnreadable, match="none of 6"):
        parse_key_set(orjson.dumps({"keys": others}), "test")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"{}", b'{"keys": 7}', b'{"keys": [7]}', b"<html>"]
)
def test_what_is_no_key_set_is_told(text):
    with pytest.raises(KeySetUnreadable, match="test"):
        parse_key_set(text, "test")
