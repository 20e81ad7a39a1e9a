"""Counter-based random numbers: the same numbers on every executor, machine and thread count.

Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", table 2).
key = seed xor BLAKE2b-64 of the path; counter = (block of 4 words, step (2 words), purpose):
any number can be computed alone.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import ConfigError, DTypeError, ShapeError
from chainrule.graph.expr import Expr, apply, constant
from chainrule.graph.primitive import Primitive
from chainrule.ops.convert import cast
from chainrule.ops.elementwise import cos, less, log, sqrt
from chainrule.ops.index import argsort
from chainrule.ops.samples import SAMPLES, case
from chainrule.spec import DTYPES, DType, Shape, Spec, as_dtype, as_shape, is_integer

__all__ = ["RandomKey", "bernoulli", "normal", "path_key", "permutation", "philox", "random_bits", "uniform"]

_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_MASK = 0xFFFFFFFF
_32, _LOW = np.uint64(32), np.uint64(_MASK)
_BLOCKS = 4096  # of four words that are made at once
_SECOND = 1 << 31  # the purposes of what takes two draws: no call counter reaches them
_FLOAT_BITS = {"float32": 24, "float64": 53}


@functools.lru_cache(maxsize=4096)
def path_key(path: str) -> int:
    """BLAKE2b-64 of a path: what tells one layer's random numbers from another's."""
    from hashlib import blake2b  # 3 ms, a tenth of what importing chainrule may cost

    return int.from_bytes(blake2b(path.encode(), digest_size=8).digest(), "little")


def philox(counter: npt.NDArray[Any], key: tuple[int, int]) -> npt.NDArray[Any]:
    """Philox4x32-10.   counter (4, n) of 32-bit values → (4, n), as uint64 below 2³².

    >>> [hex(w) for w in philox(np.zeros((4, 1)), (0, 0))[:, 0]]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = (np.array(word, np.uint64) for word in counter)
    p0, p2, (k0, k1) = np.empty_like(c0), np.empty_like(c2), key
    for _ in range(10):
        np.multiply(c0, _MULTIPLIERS[0], out=p0)
        np.multiply(c2, _MULTIPLIERS[1], out=p2)
        np.right_shift(p2, _32, out=c0)
        c0 ^= c1
        c0 ^= np.uint64(k0)
        np.right_shift(p0, _32, out=c2)
        c2 ^= c3
        c2 ^= np.uint64(k1)
        np.bitwise_and(p2, _LOW, out=c1)
        np.bitwise_and(p0, _LOW, out=c3)
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return np.stack([c0, c1, c2, c3])


def _reference(
    seed: npt.NDArray[Any], step: npt.NDArray[Any], *, path: int, purpose: int, shape: Shape, bits: int
) -> npt.NDArray[Any]:
    words = 1 if bits <= 31 else 2
    size = math.prod(shape)
    blocks = -(-size * words // 4)
    key = (int(seed) ^ path) & (1 << 64) - 1
    drawn = np.empty((blocks, 4), np.uint32)
    for start in range(0, blocks, _BLOCKS):  # parts that stay in the processor's cache
        counter = np.empty((4, min(_BLOCKS, blocks - start)), np.uint64)
        counter[0] = np.arange(start, start + counter.shape[1])
        counter[1:] = [[int(step) & _MASK], [int(step) >> 32 & _MASK], [purpose]]
        drawn[start : start + _BLOCKS] = philox(counter, (key & _MASK, key >> 32)).T
    flat = drawn.reshape(-1)[: size * words]
    if words == 1:
        return (flat >> np.uint32(32 - bits)).view(np.int32).reshape(shape)
    wide = flat[0::2].astype(np.uint64) << _32 | flat[1::2]
    return (wide >> np.uint64(64 - bits)).view(np.int64).reshape(shape)


def _bits_dtype(bits: int) -> DType:
    return DTYPES["int32"] if bits <= 31 else DTYPES["int64"]


def _infer(seed: Spec, step: Spec, *, path: int, purpose: int, shape: Shape, bits: int) -> Spec:
    if seed.shape or step.shape or not is_integer(seed.dtype) or not is_integer(step.dtype):
        raise ShapeError(f"random_bits: seed and step are integer scalars, got {seed} and {step}")
    if not 1 <= bits <= 63:
        raise DTypeError(f"random_bits: between 1 and 63 bits, got {bits}")
    if not (0 <= path < 1 << 64 and 0 <= purpose < 1 << 32):
        raise ConfigError(f"random_bits: path {path} is a 64-bit number, purpose {purpose} a 32-bit one")
    return Spec(shape, _bits_dtype(bits))


RANDOM_BITS = Primitive(
    "random_bits", infer=_infer, vjp=lambda g, y, *x, **meta: (None, None), reference=_reference
)
SAMPLES[RANDOM_BITS] = [
    case((), (), dtypes=("int64", "int64"), low=0, high=9, path=7, purpose=0, shape=(3, 5), bits=24),
    case((), (), dtypes=("int64", "int64"), low=0, high=9, path=1 << 63, purpose=1, shape=(7,), bits=53),
    case((), (), dtypes=("int32", "int32"), low=0, high=9, path=0, purpose=2, shape=(0,), bits=31),
]


class RandomKey:
    """Where a stream of random numbers starts: seed and step (nodes, so they change without a new graph),
    the layer's path, and ``purpose`` (below 2³¹), which tells several draws on one path apart.

    Two keys that differ in any part give independent numbers.
    """

    __slots__ = ("path", "purpose", "seed", "step")

    def __init__(self, seed: Expr | int, step: Expr | int = 0, path: str = "", purpose: int = 0) -> None:
        self.seed = seed if isinstance(seed, Expr) else constant(seed, "int64")
        self.step = step if isinstance(step, Expr) else constant(step, "int64")
        self.path, self.purpose = path, purpose


def random_bits(key: RandomKey, shape: int | tuple[int, ...], bits: int = 24) -> Expr:
    """Uniform integers in [0, 2^bits): int32 up to 31 bits, int64 up to 63."""
    meta = {"path": path_key(key.path), "purpose": key.purpose, "shape": as_shape(shape), "bits": bits}
    return apply(RANDOM_BITS, key.seed, key.step, **meta)


def uniform(
    key: RandomKey, shape: int | tuple[int, ...], low: float = 0.0, high: float = 1.0, dtype: Any = "float32"
) -> Expr:
    """U[low, high) from 24 random bits in float32 and 53 in float64; rounding may reach ``high``."""
    return low + (high - low) * _unit(key, shape, dtype, offset=0.0)


def _unit(key: RandomKey, shape: int | tuple[int, ...], dtype: Any, offset: float) -> Expr:
    """(k + offset)·2^−bits: [0, 1) with offset 0, (0, 1] with offset 1."""
    target = as_dtype(dtype)
    if target.name not in _FLOAT_BITS:
        raise DTypeError(f"random numbers are float32 or float64, not {target.name}")
    bits = _FLOAT_BITS[target.name]
    return (cast(random_bits(key, shape, bits), target) + offset) * 2.0**-bits


def normal(
    key: RandomKey, shape: int | tuple[int, ...], mean: float = 0.0, std: float = 1.0, dtype: Any = "float32"
) -> Expr:
    """N(mean, std²) by Box & Muller 1958: √(−2 ln u₁) cos(2π u₂), u₁ in (0, 1]."""
    second = RandomKey(key.seed, key.step, key.path, key.purpose + _SECOND)
    radius = sqrt(-2.0 * log(_unit(key, shape, dtype, 1.0)))
    angle = 2 * math.pi * _unit(second, shape, dtype, 0.0)
    return mean + std * (radius * cos(angle))


def bernoulli(key: RandomKey, shape: int | tuple[int, ...], probability: float) -> Expr:
    """True with the given probability, to 2⁻²⁴."""
    if not 0 <= probability <= 1:
        raise ConfigError(f"bernoulli: a probability lies between 0 and 1, got {probability}")
    return less(random_bits(key, shape, 24), round(probability * 2**24))


def permutation(key: RandomKey, n: int) -> Expr:
    """0 … n−1 in random order: the order that sorts n draws of 63 bits."""
    return argsort(random_bits(key, (n,), 63))
