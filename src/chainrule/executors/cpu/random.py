"""Philox4x32-10 on the lanes of registers: the bits of ``ops/random.py``."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.executors.cpu.emit import I64, Builder, Value, const, vector

__all__ = ["philox", "random_elements"]

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85
_LOW = 0xFFFFFFFF


def philox(b: Builder, counter: Sequence[Value], key: tuple[Value, Value]) -> list[Value]:
    """Philox4x32-10 of four vectors of i32 lanes; the key is a pair of i32, scalars or vectors."""
    words = [b.convert("zext", word, word.type.of("i64")) for word in counter]
    k0, k1 = (b.convert("zext", word, word.type.of("i64")) for word in key)
    return [b.convert("trunc", word, word.type.of("i32")) for word in _rounds(b, words, k0, k1)]


def _rounds(b: Builder, counter: Sequence[Value], k0: Value, k1: Value) -> list[Value]:
    """Ten rounds on words in the low halves of i64 lanes; what the high halves hold does not matter, neither
    before nor after, so a round is two products, two shifts and two xors of three. What all lanes share
    stays scalar until it meets a vector."""
    c0, c1, c2, c3 = counter
    for number in range(10):
        p0, p2 = _product(b, c0, _MULTIPLIERS[0]), _product(b, c2, _MULTIPLIERS[1])
        r0, r1 = (b.add(k, const(number * w & _LOW, k.type)) for k, w in zip((k0, k1), _WEYL, strict=True))
        c0, c1, c2, c3 = _mixed(b, p2, c1, r0), p2, _mixed(b, p0, c3, r1), p0
    return [c0, c1, c2, c3]


def _product(b: Builder, x: Value, factor: int) -> Value:
    """32 × 32 → 64 bits in every lane: one instruction on x86-64, which ignores the high halves itself."""
    return b.mul(b.and_(x, const(_LOW, x.type)), const(factor, x.type))


def _mixed(b: Builder, product: Value, word: Value, key: Value) -> Value:
    """High half of the product xor word xor key."""
    return _xor(b, _xor(b, b.lshr(product, const(32, product.type)), word), key)


def _xor(b: Builder, x: Value, y: Value) -> Value:
    lanes = max(x.type.lanes, y.type.lanes)
    return b.xor(b.splat(x, lanes), b.splat(y, lanes))


def random_elements(
    b: Builder,
    first_block: Value,
    seed: Value,
    step: Value,
    *,
    path: int,
    purpose: int,
    bits: int,
    lanes: int,
) -> list[Value]:
    """The random integers of ``lanes`` blocks of four words, in the order of the flat element index.

    ``first_block``, ``seed``, ``step`` are i64. Up to 31 bits: four vectors of ``lanes`` i32, the elements
    from 4·first_block; else two vectors of ``lanes`` i64, those from 2·first_block. ``lanes`` is 4, 8 or 16.
    """
    key = b.xor(seed, const(path - (path >> 63 << 64), I64))  # the same 64 bits, as a signed number
    k1, step_high = b.lshr(key, const(32, I64)), b.lshr(step, const(32, I64))
    blocks = b.add(b.splat(first_block, lanes), _block_numbers(lanes))
    words = _rounds(b, [blocks, step, step_high, const(purpose, I64)], key, k1)
    return _in_order(b, words, bits)


def _block_numbers(lanes: int) -> Value:
    """Which block lies in which lane. The lanes are two registers of i64 (or two times two); in each, lane 2l
    is block l and lane 2l+1 the block half a register further: so that neighbouring lanes of two words
    interleave into the order of the elements, see ``_in_order``."""
    half = lanes // 2
    numbers = [l // half * half + l % half // 2 + l % 2 * (half // 2) for l in range(lanes)]
    return Value("<" + ", ".join(f"i64 {n}" for n in numbers) + ">", vector("i64", lanes))


def _in_order(b: Builder, words: Sequence[Value], bits: int) -> list[Value]:
    """The words of each block side by side, as elements of so many bits."""
    lanes = words[0].type.lanes
    half = lanes // 2
    low, high = ((0, 2), (1, 3)) if bits <= 31 else ((1, 3), (0, 2))
    front, back = (_pair(b, words[l], words[h]) for l, h in zip(low, high, strict=True))
    parts = []
    for start in (0, 1, half, half + 1):
        places = [l + s for l in range(start, start + half - start % 2, 2) for s in (0, lanes)]
        parts.append(b.shuffle(front, back, places))
    if bits <= 31:
        parts = [b.bitcast(part, vector("i32", lanes)) for part in parts]
    else:
        parts = [b.shuffle(x, y, range(lanes)) for x, y in (parts[:2], parts[2:])]
    return [b.lshr(part, const(part.type.bits - bits, part.type)) for part in parts]


def _pair(b: Builder, low: Value, high: Value) -> Value:
    """The low halves of two words, side by side in each lane."""
    return b.or_(b.and_(low, const(_LOW, low.type)), b.shl(high, const(32, high.type)))
