"""Random words as a pure function of a key and an index: the contract `dropcli/1`, frozen.

Word i is little-endian uint32 i of an AES-128-CTR keystream. It is addressed by index, so any
worker can compute any chunk in any order from the key alone. A change of these words would change
users' data.
"""

import hashlib
import threading
from collections.abc import Iterator

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from dropcli.tensors import Indices

CONTRACT = "dropcli/1"
CHUNK = 1 << 18  # words; long enough that threads rarely wait for each other

_PER_COUNTER = 4  # an AES block is 16 bytes
_ZEROS = memoryview(bytes(4 * (CHUNK + _PER_COUNTER)))
_own = threading.local()  # allocating memory for each block would cost more than its words


def mask_key(seed: int, stream: bytes, tensor: str, copy: int) -> bytes:
    """The 16-byte AES key of the mask of a tensor."""
    return _key(CONTRACT, seed, stream, tensor, copy)


def p_key(seed: int, stream: bytes, tensor: str, copy: int) -> bytes:
    """The key of drawn probabilities: word i is for sample i.

    With an empty tensor name, word 0 is for the file.
    """
    return _key(f"{CONTRACT}/p", seed, stream, tensor, copy)


def _key(purpose: str, seed: int, stream: bytes, tensor: str, copy: int) -> bytes:
    """SHA-256 over length-prefixed fields, so no two inputs collide."""
    fields = (purpose.encode(), str(seed).encode(), stream, tensor.encode(), str(copy).encode())
    text = b"".join([len(field).to_bytes(8, "little") + field for field in fields])
    return hashlib.sha256(text).digest()[:16]


class _Buffer:
    """Memory for up to `count` words, beginning anywhere."""

    def __init__(self, count: int) -> None:
        # The first counter may begin before the start, and `update_into` requires a block more.
        self.words = np.empty(count + 2 * _PER_COUNTER, "<u4")
        self.bytes = self.words.view(np.uint8).data


class Keystream:
    """The words of one key."""

    def __init__(self, key: bytes) -> None:
        self._algorithm = algorithms.AES(key)

    def chunks(self, start: int, count: int) -> Iterator[tuple[int, NDArray[np.uint32]]]:
        """`count` words from `start` on, as chunks, each after the number of words before it.

        The array of a chunk is reused for the next one.
        """
        buffer = _Buffer(min(count, CHUNK))
        for first in range(0, count, CHUNK):
            yield first, self._fill(buffer, start + first, min(count - first, CHUNK))

    def block(self, start: int, count: int) -> NDArray[np.uint32]:
        """At most CHUNK words from `start`, shape (count,), until the next call on this thread."""
        if not hasattr(_own, "buffer"):
            _own.buffer = _Buffer(CHUNK)
        return self._fill(_own.buffer, start, count)

    def _fill(self, buffer: _Buffer, start: int, count: int) -> NDArray[np.uint32]:
        counter, skip = divmod(start, _PER_COUNTER)
        encryptor = Cipher(self._algorithm, modes.CTR(counter.to_bytes(16, "big"))).encryptor()
        encryptor.update_into(_ZEROS[: 4 * (count + skip)], buffer.bytes)
        words: NDArray[np.uint32] = buffer.words[skip : skip + count]
        return words

    def read(self, start: int, count: int) -> NDArray[np.uint32]:
        """`count` words from `start` on, shape (count,)."""
        words = np.empty(count, np.uint32)
        for first, chunk in self.chunks(start, count):
            words[first : first + len(chunk)] = chunk
        return words

    def at(self, indices: Indices) -> NDArray[np.uint32]:
        """The words of these indices, in any order, shape (n,)."""
        counters, lanes = np.divmod(indices, _PER_COUNTER)
        # Counter mode encrypts counters, so encrypting some of them alone gives their words.
        blocks = np.zeros((len(counters), 2), ">u8")
        blocks[:, 1] = counters
        stream = Cipher(self._algorithm, modes.ECB()).encryptor().update(blocks.tobytes())
        words = np.frombuffer(stream, "<u4").reshape(-1, _PER_COUNTER)
        found: NDArray[np.uint32] = words[np.arange(len(lanes)), lanes]
        return found
