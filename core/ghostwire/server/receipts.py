"""Answers to requests that may come again: kept for a day with what they made, sealed, each under its own key.

The Idempotency-Key itself is not kept: whoever reads the database learns from it neither key nor answer, which may
hold a secret. A caller should give 128 random bits, a UUID say; 16 characters are the least that is taken.
"""

from __future__ import annotations

import hashlib
import re

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ghostwire.capabilities.storage import Transaction
from ghostwire.engine import Entropy
from ghostwire.errors import Conflict, Refused
from ghostwire.frontdoor.conditions import Receipt, Repeated
from ghostwire.frontdoor.operations import Receipts
from ghostwire.model import IdempotencyKey
from ghostwire.server.mesh import LiveMesh

KEPT = 86_400
"""Seconds."""
MOST = 4096
"""Answers kept; the oldest makes room."""
MAX_ANSWER = 64 * 1024
KEY = re.compile(r"[!-~]{16,128}")
_NONCE = 12


class KeptAnswers(Receipts):
    """Those in the mesh's records, so that any of its servers answers again."""

    def __init__(self, mesh: LiveMesh, entropy: Entropy) -> None:
        self._mesh, self._entropy = mesh, entropy

    def of(self, caller: str, key: str, request: bytes) -> Receipt:
        """The receipt of this request."""
        if KEY.fullmatch(key) is None:
            raise Refused("give as Idempotency-Key 16 to 128 visible ASCII characters, a new UUID say", "malformed")
        return KeptAnswer(self._mesh, self._entropy, f"{caller}\n{key}".encode(), request)


class KeptAnswer(Receipt):
    """One request's."""

    def __init__(self, mesh: LiveMesh, entropy: Entropy, key: bytes, request: bytes) -> None:
        self._mesh, self._entropy, self._request, self._now = mesh, entropy, request, mesh.now()
        self._digest = hashlib.blake2s(key, person=b"gw-name").digest()
        self._cipher = ChaCha20Poly1305(hashlib.blake2s(key, person=b"gw-seal").digest())

    def answer(self) -> bytes | None:
        """What was answered; Conflict where the key was used for another request."""
        held = next((each for each in self._mesh.list(IdempotencyKey) if each.digest == self._digest), None)
        return self._opened(held) if held is not None and self._is_kept(held) else None

    def check(self, transaction: Transaction) -> None:
        """`Repeated` where it was carried out since `answer` was asked."""
        for held in transaction.find(IdempotencyKey, digest=self._digest):
            if self._is_kept(held):
                raise Repeated(self._opened(held))

    def keep(self, transaction: Transaction, answer: bytes) -> None:
        """Keep the answer."""
        if len(answer) > MAX_ANSWER:
            raise Refused(f"an answer of more than {MAX_ANSWER} bytes is not kept: leave Idempotency-Key out", "usage")
        self._make_room(transaction)
        nonce = self._entropy(_NONCE)
        transaction.put(
            IdempotencyKey(
                id=transaction.new_id(IdempotencyKey),
                digest=self._digest,
                request=self._request,
                status=200,
                answer=nonce + self._cipher.encrypt(nonce, answer, self._request),
                created=self._now,
            )
        )

    def _make_room(self, transaction: Transaction) -> None:
        held = sorted(transaction.find(IdempotencyKey), key=lambda each: each.id)
        superfluous = max(0, len(held) - MOST + 1)
        for place, each in enumerate(held):
            if place < superfluous or not self._is_kept(each):
                transaction.delete(IdempotencyKey, each.id)

    def _is_kept(self, held: IdempotencyKey) -> bool:
        return self._now - held.created < KEPT

    def _opened(self, held: IdempotencyKey) -> bytes:
        if held.request != self._request:
            raise Conflict("this Idempotency-Key was used for another request; take a new one", "key-reused")
        try:
            return self._cipher.decrypt(held.answer[:_NONCE], held.answer[_NONCE:], self._request)
        except InvalidTag:
            raise Conflict(
                "the answer kept under this Idempotency-Key is damaged; take a new one", "key-reused"
            ) from None
