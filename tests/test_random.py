"""Counter-based random numbers: the published vectors, independence of streams, moments, permutations."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import ops
from chainrule.autodiff import gradient
from chainrule.errors import ConfigError
from chainrule.executors import EXECUTORS, compile, evaluate
from chainrule.ops.random import RandomKey, path_key, philox, random_bits

PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)
ONES = 0xFFFFFFFF


def draw(node):
    return evaluate([node], {})[0]


# ------------------------------------------------------------------ Philox4x32-10


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((ONES,) * 4, (ONES,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (*PI, "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_the_known_answers_of_random123(counter, key, expected):
    found = philox(np.array(counter).reshape(4, 1), key)[:, 0]
    assert " ".join(f"{int(w):08x}" for w in found) == expected


def philox_by_hand(counter, key):
    """Salmon et al. 2011, word by word, in Python integers."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & ONES, (p0 >> 32) ^ c3 ^ k1, p0 & ONES
        k0, k1 = (k0 + 0x9E3779B9) & ONES, (k1 + 0xBB67AE85) & ONES
    return [c0, c1, c2, c3]


words = st.integers(0, ONES)


@settings(max_examples=100)
@given(st.tuples(words, words, words, words), st.tuples(words, words))
def test_many_counters_at_once_equal_one_by_hand(counter, key):
    many = np.stack([np.array(counter, np.uint64), np.array([0, 1, 2, 3], np.uint64)], axis=1)
    found = philox(many, key)
    assert found[:, 0].tolist() == philox_by_hand(counter, key)
    assert found[:, 1].tolist() == philox_by_hand((0, 1, 2, 3), key)


@pytest.mark.parametrize(
    ("seed", "step", "purpose"), [(0, 0, 0), (7, 3, 1), (-1, 2**40 + 5, 2), (2**62, 1, 2**31)]
)
def test_bits_are_philox_of_seed_path_step_and_purpose(seed, step, purpose):
    """key = seed xor BLAKE2b-64 of the path, counter = (block, step low, step high, purpose)."""
    path = "encoder/dropout_0"
    mixed = (seed & 2**64 - 1) ^ int.from_bytes(
        hashlib.blake2b(path.encode(), digest_size=8).digest(), "little"
    )
    key = (mixed & ONES, mixed >> 32)
    stream = [w for block in range(3) for w in philox_by_hand((block, step & ONES, step >> 32, purpose), key)]
    random_key = RandomKey(seed, step, path, purpose)
    assert draw(random_bits(random_key, (2, 5), 24)).ravel().tolist() == [w >> 8 for w in stream[:10]]
    wide = [stream[i] << 32 | stream[i + 1] for i in range(0, 12, 2)]
    assert draw(random_bits(random_key, 6, 53)).tolist() == [w >> 11 for w in wide]
    assert draw(random_bits(random_key, 6, 63)).tolist() == [w >> 1 for w in wide]


@pytest.mark.parametrize("bits", [24, 53])
def test_large_draws_are_seamless(bits):
    """Numbers are made in parts; every part must count on from the one before."""
    key, words_each = path_key("big"), 1 if bits < 32 else 2
    drawn = draw(random_bits(RandomKey(0, 1, "big"), 40_000, bits)).tolist()
    for place in (4095, 4096, 16_383, 16_384, 32_767, 32_768, 39_999):
        word = place * words_each
        block = philox_by_hand((word // 4, 1, 0, 0), (key & ONES, key >> 32))
        value = int("".join(f"{w:032b}" for w in block[word % 4 :][:words_each]), 2)
        assert drawn[place] == value >> (32 * words_each - bits)


def test_golden_numbers():
    """What a seed gives today it gives for ever: saved seeds, initial weights and shuffles rest on it."""
    key = RandomKey(42, 7, "dense_0/W")
    assert path_key("dense_0/W") == 4024001318487647384
    assert draw(random_bits(key, 3)).tolist() == GOLDEN_BITS
    np.testing.assert_array_equal(draw(ops.uniform(key, 2)), np.array(GOLDEN_UNIFORM, "f"))
    np.testing.assert_array_equal(draw(ops.uniform(key, 2, dtype="float64")), GOLDEN_UNIFORM_64)
    np.testing.assert_allclose(draw(ops.normal(key, 2, dtype="float64")), GOLDEN_NORMAL_64, rtol=1e-14)
    assert draw(ops.permutation(key, 8)).tolist() == GOLDEN_PERMUTATION


GOLDEN_BITS = [9068005, 16677981, 9644729]
GOLDEN_UNIFORM = [0.5404952168464661, 0.9940851330757141]
GOLDEN_UNIFORM_64 = [0.5404952550293144, 0.5748706913805188]
GOLDEN_NORMAL_64 = [0.2329981782382101, -0.011256648580960892]
GOLDEN_PERMUTATION = [6, 4, 5, 0, 1, 3, 7, 2]


# ------------------------------------------------------------------ streams


def key_variants():
    base = {"seed": 3, "step": 5, "path": "dropout_0", "purpose": 0}
    yield from (RandomKey(**{**base, **change}) for change in
                ({}, {"seed": 4}, {"step": 6}, {"step": 5 + 2**32}, {"path": "dropout_1"}, {"purpose": 1},
                 {"seed": 3 + 2**32}, {"path": ""}))  # fmt: skip


def test_another_seed_step_path_or_purpose_gives_other_numbers():
    drawn = [draw(random_bits(key, 64)) for key in key_variants()]
    for i, a in enumerate(drawn):
        for b in drawn[i + 1 :]:
            assert (a == b).sum() <= 1  # 64 draws of 24 bits


@pytest.mark.parametrize("executor", EXECUTORS)
def test_seed_and_step_are_given_when_the_graph_runs(executor):
    seed, step = ops.input("seed", (), "int64"), ops.input("step", (), "int64")
    f = compile([ops.uniform(RandomKey(seed, step, "a"), 4)], [seed, step], executor=executor)
    for s, t in ((1, 0), (1, 1), (9, 1)):
        np.testing.assert_array_equal(
            f(np.int64(s), np.int64(t))[0], draw(ops.uniform(RandomKey(s, t, "a"), 4))
        )


def test_a_longer_draw_begins_like_a_shorter_one():
    key = RandomKey(1, 2, "x")
    np.testing.assert_array_equal(draw(ops.uniform(key, (4, 5))).ravel()[:7], draw(ops.uniform(key, 7)))


def test_draws_of_several_kinds_on_one_path_share_no_word():
    """A normal takes two draws; its second must not be the first of the next call on the same path."""
    kinds = [lambda k: ops.normal(k, 256, dtype="float64"), lambda k: ops.uniform(k, 256, dtype="float64")]
    for first in kinds:
        for second in kinds:
            a, b = draw(first(RandomKey(0, 0, "p", 0))), draw(second(RandomKey(0, 0, "p", 1)))
            assert abs(np.corrcoef(a, b)[0, 1]) < 0.2
    phases = draw(ops.normal(RandomKey(0, 0, "p", 0), 4096, dtype="float64"))
    for purpose in range(1, 4):
        cosines = np.cos(2 * np.pi * draw(ops.uniform(RandomKey(0, 0, "p", purpose), 4096, dtype="float64")))
        assert abs(np.corrcoef(phases, cosines)[0, 1]) < 0.06


# ------------------------------------------------------------------ distributions

N = 200_000
SIGMAS = 5  # fixed seeds: the bounds say that nothing is wrong, not that luck was good


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_numbers_have_their_moments(dtype):
    u = draw(ops.uniform(RandomKey(1), N, -1, 3, dtype)).astype("d")
    assert u.min() >= -1
    assert u.max() <= 3
    assert abs(u.mean() - 1) < SIGMAS * math.sqrt(16 / 12 / N)
    assert abs(u.var() - 16 / 12) < SIGMAS * math.sqrt(16**2 / 180 / N)
    counts = np.histogram(u, 64, (-1, 3))[0]
    assert np.sum((counts - N / 64) ** 2 / (N / 64)) < 63 + SIGMAS * math.sqrt(2 * 63)
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < SIGMAS / math.sqrt(N)


def test_the_unit_interval_is_half_open_and_on_a_grid():
    u = draw(ops.uniform(RandomKey(2), N))
    assert u.dtype == np.float32
    assert u.min() >= 0
    assert u.max() < 1
    np.testing.assert_array_equal(u * 2**24, np.floor(u * 2**24))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_numbers_have_their_moments_and_shape(dtype):
    z = (draw(ops.normal(RandomKey(3), N, 2.0, 0.5, dtype)).astype("d") - 2) / 0.5
    assert np.isfinite(z).all()
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(np.mean(z**power) - moment) < SIGMAS * math.sqrt(spread / N)
    for t in (-2.0, -1, 0, 0.5, 1.5, 3):
        p = 0.5 * math.erfc(-t / math.sqrt(2))
        assert abs(np.mean(z < t) - p) < SIGMAS * math.sqrt(p * (1 - p) / N)
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < SIGMAS / math.sqrt(N)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.8, 1.0])
def test_bernoulli_hits_its_probability(p):
    b = draw(ops.bernoulli(RandomKey(4), N, p))
    assert b.dtype == bool
    assert abs(b.mean() - p) <= SIGMAS * math.sqrt(p * (1 - p) / N)


@settings(max_examples=50)
@given(st.integers(0, 200), st.integers(0, 2**40), st.integers(0, 100))
def test_a_permutation_is_one(n, seed, epoch):
    found = draw(ops.permutation(RandomKey(seed, epoch, "shuffle"), n))
    assert sorted(found.tolist()) == list(range(n))


def test_permutations_are_uniform():
    """Of 3 elements: each of the 6 orders in a sixth of 1,800 draws."""
    bits = ops.random_bits(RandomKey(5), (1800, 3), 63)
    orders, counts = np.unique(draw(ops.argsort(bits, 1)), axis=0, return_counts=True)
    assert len(orders) == 6
    assert np.sum((counts - 300) ** 2 / 300) < 5 + SIGMAS * math.sqrt(10)
    firsts = [draw(ops.permutation(RandomKey(5, epoch, "shuffle"), 60_000))[0] for epoch in range(4)]
    assert len(set(firsts)) == 4


def test_random_numbers_have_no_gradient():
    x = ops.input("x", (5,), "float64")
    noise = ops.normal(RandomKey(0), (5,), dtype="float64")
    np.testing.assert_array_equal(
        evaluate([gradient(ops.sum(x * noise), x)], {x: np.ones(5)})[0], draw(noise)
    )


@pytest.mark.parametrize("purpose", [-1, 2**32])
def test_a_purpose_is_one_word(purpose):
    with pytest.raises(ConfigError, match="32-bit"):
        random_bits(RandomKey(0, purpose=purpose), 3)
