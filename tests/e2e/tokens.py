"""JSON Web Tokens and the keys of their issuer for the tests, made by openssl."""

import base64
import json
import time

from certs import openssl

ISSUER = "https://issuer.test"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Signs with RS256."""

    def __init__(self, directory, kid="one"):
        self.kid = kid
        self.key = directory / f"{kid}.pem"
        openssl("genrsa", "-out", self.key, "2048")
        modulus = openssl("rsa", "-in", self.key, "-noout", "-modulus").split(b"=")[1].strip()
        self.jwk = {"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "e": "AQAB",
                    "n": b64(bytes.fromhex(modulus.decode()))}

    def public_pem(self):
        return openssl("rsa", "-in", self.key, "-pubout")

    def token(self, subject="system:serviceaccount:shop:web", header=None, sign=None, **claims):
        """A good token, but for what is given. sign(bytes) -> signature."""
        now = int(time.time())
        header = {"alg": "RS256", "kid": self.kid, **(header or {})}
        payload = {"iss": ISSUER, "aud": ["podmirror", "other"], "sub": subject, "nbf": now - 60,
                   "exp": now + 600, **claims}
        text = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(payload).encode())}"
        sign = sign or (lambda data: openssl("dgst", "-sha256", "-sign", self.key, stdin=data))
        return f"{text}.{b64(sign(text.encode()))}"


def key_set(*issuers):
    return json.dumps({"keys": [issuer.jwk for issuer in issuers]})
