"""Verifies a proof as a stranger would: nothing of ambit's, and the Ed25519 of `cryptography`.

verify.py PROOF VKEY reads a proof (c2sp.org/tlog-proof) and prints `record N of SIZE HASH`, or what is wrong with it.
verify.py LOG reads an exported log and prints how many records it has, the hash of the last, and the root of their tree.
"""

import base64
import hashlib
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def root(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    """The root that a path leads to, from above (RFC 6962, section 2.1.1)."""
    if size == 1:
        return leaf if not path else None
    if not path:
        return None
    left = 1 << ((size - 1).bit_length() - 1)
    if index < left:
        below = root(leaf, index, left, path[:-1])
        return below and sha256(b"\x01", below, path[-1])
    below = root(leaf, index - left, size - left, path[:-1])
    return below and sha256(b"\x01", path[-1], below)


def signed(note: str, vkey: str) -> str | None:
    """What is wrong with a signed note, if anything (c2sp.org/signed-note)."""
    name, key_id, key = vkey.split("+", 2)
    key = base64.b64decode(key, validate=True)
    assert key[0] == 1 and sha256(name.encode(), b"\n", key)[:4].hex() == key_id
    text, signatures = note.rsplit("\n\n", 1)
    for line in signatures.splitlines():
        dash, signer, signature = line.split(" ")
        signature = base64.b64decode(signature, validate=True)
        if dash == "\u2014" and signer == name and signature[:4].hex() == key_id:
            try:
                Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[4:], (text + "\n").encode())
            except InvalidSignature:
                return "wrong signature"
            return None
    return "not signed by that key"


def canonical(seq: int, record: dict, before: bytes) -> bytes:
    """The bytes of a record, as the format describes them."""

    def field(value: int | str) -> bytes:
        data = value.to_bytes(8, "big") if isinstance(value, int) else value.encode()
        return len(data).to_bytes(8, "big") + data

    fields = [seq]
    for name, value in record.items():
        fields += [len(value), *value] if name == "rules" else [value]
    return b"ambit.audit.v1" + before + b"".join(map(field, fields))


def tree(leaves: list[bytes]) -> bytes:
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256()
    left = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha256(b"\x01", tree(leaves[:left]), tree(leaves[left:]))


def exported(path: str) -> None:
    before, leaves = bytes(32), []
    with open(path, encoding="utf-8") as file:
        for line in file:
            found = json.loads(line)
            record = canonical(found["seq"], found["record"], before)
            before = sha256(record)
            assert before.hex() == found["hash"], found
            leaves.append(sha256(b"\x00", record))
    print(len(leaves), before.hex(), tree(leaves).hex())


def main() -> None:
    if len(sys.argv) == 2:
        exported(sys.argv[1])
        return
    with open(sys.argv[1], encoding="utf-8", newline="") as file:
        proof, note = file.read().split("\n\n", 1)
    wrong = signed(note, sys.argv[2])
    if wrong:
        print(wrong)
        return
    version, extra, index, *path = proof.split("\n")
    assert version == "c2sp.org/tlog-proof@v1" and extra.startswith("extra ") and index.startswith("index ")
    record = base64.b64decode(extra.removeprefix("extra "), validate=True)
    index = int(index.removeprefix("index "))
    origin, size, head = note.split("\n")[:3]
    assert origin == sys.argv[2].split("+")[0]
    found = root(sha256(b"\x00", record), index, int(size), [base64.b64decode(line, validate=True) for line in path])
    if found != base64.b64decode(head, validate=True):
        print("not in the log")
        return
    # Name of the format, hash of the record before, length and number of the record.
    assert record[:14] == b"ambit.audit.v1" and record[46:54] == (8).to_bytes(8, "big")
    print("record", int.from_bytes(record[54:62], "big"), "of", size, sha256(record).hex())


main()
