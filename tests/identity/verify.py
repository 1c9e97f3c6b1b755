"""Verifies a token as a stranger would: PyJWT, and the published keys.

verify.py JWKS AUDIENCE TOKEN prints `believed SUBJECT`, or the kind of the error.
A token with `CHANGE:` before it is forged in that way first; with `show-CHANGE:` the forgery is printed.
"""

import base64
import json
import sys

import jwt


def part(value: dict) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def forged(token: str, change: str, keys: dict) -> str:
    header, claims, signature = token.split(".")
    kid = jwt.get_unverified_header(token)["kid"]
    said = jwt.decode(token, options={"verify_signature": False})
    if change == "none":
        return f"{part({'alg': 'none', 'typ': 'JWT', 'kid': kid})}.{claims}."
    if change == "hs256":
        key = next(key for key in keys["keys"] if key["kid"] == kid)
        secret = b"\x04" + b"".join(base64.urlsafe_b64decode(key[name] + "==") for name in ("x", "y"))
        return jwt.encode(said, secret, algorithm="HS256", headers={"kid": kid})
    if change == "kid":
        return f"{part({'alg': 'ES256', 'typ': 'JWT', 'kid': 'another'})}.{claims}.{signature}"
    if change == "longer":
        return f"{header}.{part(said | {'exp': 4102444800})}.{signature}"
    raise SystemExit(f"unknown change {change}")


class Keys(jwt.PyJWKClient):
    """The published keys, from a file instead of an address."""

    def __init__(self, keys: dict) -> None:
        super().__init__("https://ambit.example.net/jwks.json")
        self.keys = keys

    def fetch_data(self) -> dict:
        return self.keys


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        keys = json.load(file)
    audience, token = sys.argv[2:4]
    change, found, rest = token.partition(":")
    if found:
        made = forged(rest, change.removeprefix("show-"), keys)
        if change.startswith("show-"):
            print(made)
            return
        token = made
    try:
        key = Keys(keys).get_signing_key_from_jwt(token)
        claims = jwt.decode(token, key, algorithms=["ES256"], audience=audience)
    except (jwt.PyJWTError, jwt.PyJWKClientError) as error:
        print(type(error).__name__)
    else:
        print("believed", claims["sub"])


main()
