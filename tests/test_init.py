"""Initialisers: their numbers for ever, their distributions, and what they do to signals and gradients."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from chainrule import nn, ops
from chainrule.autodiff import gradient
from chainrule.config import from_json, to_json
from chainrule.errors import ConfigError, DataError, ShapeError
from chainrule.executors import evaluate
from chainrule.nn import INITS

F32, F64 = np.dtype("float32"), np.dtype("float64")

CASES = [
    nn.Zeros(), nn.Constant(0.1), nn.Normal(), nn.Normal(std=0.5), nn.Uniform(), nn.Uniform(limit=0.3),
    nn.GlorotUniform(), nn.GlorotNormal(), nn.HeNormal(), nn.HeUniform(), nn.LeCunNormal(), nn.Orthogonal(),
    nn.Orthogonal(gain=math.sqrt(2)),
]  # fmt: skip
each = pytest.mark.parametrize("init", CASES, ids=repr)


def sample(init, shape=(300, 200), name="dense_0/W", seed=0, dtype=F32):
    return init.sample(name, seed, shape, shape if len(shape) == 2 else (1, 1), dtype)


# ------------------------------------------------------------------ the same numbers for ever


def philox_by_hand(counter, key):
    """Philox4x32-10 in Python integers (Salmon et al. 2011): one block of four words."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [b >> 32 ^ c[1] ^ k[0], b & 0xFFFFFFFF, a >> 32 ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def words_by_hand(name, seed, count, purpose=0):
    digest = hashlib.blake2b(f"initial:{name}".encode(), digest_size=8).digest()
    key = (int.from_bytes(digest, "little") ^ seed) & (1 << 64) - 1
    blocks = [
        philox_by_hand((i, 0, 0, purpose), (key & 0xFFFFFFFF, key >> 32)) for i in range(-(-count // 4))
    ]
    return [word for block in blocks for word in block][:count]


@pytest.mark.parametrize("seed", [0, 12345, -1, 1 << 63])
def test_uniform_and_normal_draws_by_hand(seed):
    u = [((w >> 8) + 0.5) / 2**24 for w in words_by_hand("a/W", seed, 6)]
    found = nn.Uniform(limit=2.0).sample("a/W", seed, (2, 3), (2, 3), F32)
    np.testing.assert_array_equal(found.ravel(), np.float32([2.0 * (2 * v - 1) for v in u]))
    z = []
    for a, b in zip(u[0::2], u[1::2], strict=True):
        r = math.sqrt(-2 * math.log(a))
        z += [r * math.cos(2 * math.pi * b), r * math.sin(2 * math.pi * b)]
    found = nn.Normal(std=0.5).sample("a/W", seed, (5,), (5, 5), F32)
    np.testing.assert_allclose(found, 0.5 * np.array(z[:5]), rtol=1e-6)
    low = words_by_hand("a/W", seed, 2, purpose=1)
    high = words_by_hand("a/W", seed, 2)
    wide = [((h << 20 | lo >> 12) + 0.5) / 2**52 for h, lo in zip(high, low, strict=True)]
    found = nn.Uniform(limit=1.0).sample("a/W", seed, (2,), (2, 2), F64)
    np.testing.assert_array_equal(found, [2 * v - 1 for v in wide])


GOLDEN = {  # elements 0, 1, 5, 11 of a (4, 3) matrix "dense_0/W", by seed
    "Normal(std=0.01)": {0: [-0.00653724978, 0.0135571752, -0.00201905379, 0.000637174409],
                         12345: [-0.00195547868, -0.00700404355, -0.0134040657, 0.00158015348]},
    "Uniform(limit=None)": {0: [-0.177825898, -0.178490847, 0.489694506, -0.112543911],
                            12345: [0.267664403, 0.206668466, 0.267919093, -0.0369894207]},
    "GlorotUniform()": {0: [-0.329269588, -0.330500841, 0.906738043, -0.208390832],
                        12345: [0.495618165, 0.382675648, 0.496089756, -0.0684911013]},
    "GlorotNormal()": {0: [-0.34943068, 0.724661529, -0.107922964, 0.0340584032],
                       12345: [-0.104524732, -0.37438187, -0.716477454, 0.0844627544]},
    "HeNormal()": {0: [-0.462253362, 0.958637059, -0.142768651, 0.0450550318],
                   12345: [-0.138273224, -0.495260656, -0.94781059, 0.11173372]},
    "HeUniform()": {0: [-0.435582727, -0.437211514, 1.19950163, -0.275675148],
                    12345: [0.655641198, 0.506232262, 0.65626508, -0.0906052068]},
    "LeCunNormal()": {0: [-0.326862484, 0.67785877, -0.100952685, 0.0318587199],
                      12345: [-0.0977739394, -0.350202173, -0.670203269, 0.0790076703]},
    "Orthogonal(gain=1.0)": {0: [-0.331083983, 0.405752987, -0.195559114, -0.195816323],
                             12345: [-0.171374828, -0.327131122, -0.685406804, -0.397916198]},
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values_never_change(name):
    init = next(i for i in CASES if repr(i) == name)
    for seed, expected in GOLDEN[name].items():
        found = init.sample("dense_0/W", seed, (4, 3), (4, 3), F32).ravel()[[0, 1, 5, 11]]
        np.testing.assert_allclose(found, expected, rtol=3e-7)


def test_every_drawing_initialiser_has_golden_values():
    assert {type(i).__name__ for i in CASES} | {"ConstantParts"} == set(INITS)
    assert {name.partition("(")[0] for name in GOLDEN} == set(INITS) - {"Zeros", "Constant", "ConstantParts"}


@each
def test_the_same_arguments_give_the_same_bits_and_others_give_others(init):
    first = sample(init)
    assert np.array_equal(first, sample(init))
    if not isinstance(init, nn.Zeros | nn.Constant):
        for other in (sample(init, seed=1), sample(init, name="dense_1/W")):
            assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 4 / math.sqrt(first.size)


@each
def test_float64_starts_where_float32_starts(init):
    if not isinstance(init, nn.Orthogonal):
        np.testing.assert_allclose(sample(init, dtype=F64), sample(init), rtol=1e-3, atol=2e-6)
    assert sample(init, dtype=F64).dtype == F64


@each
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (7,), (), (2, 3, 5)])
def test_every_shape(init, shape):
    if isinstance(init, nn.Orthogonal) and len(shape) < 2:
        with pytest.raises(ShapeError, match="a matrix is needed"):
            sample(init, shape)
    else:
        found = sample(init, shape)
        assert found.shape == shape
        assert np.isfinite(found).all()


@each
def test_json_round_trip(init):
    assert from_json(to_json(init), INITS, {}) == init


# ------------------------------------------------------------------ distributions


@pytest.mark.parametrize(
    ("init", "std"),
    [
        (nn.Normal(), 0.01), (nn.Normal(std=2.0), 2.0), (nn.GlorotNormal(), math.sqrt(2 / 500)),
        (nn.HeNormal(), math.sqrt(2 / 300)), (nn.LeCunNormal(), math.sqrt(1 / 300)),
    ],
    ids=repr,
)  # fmt: skip
def test_normal_schemes(init, std):
    z = sample(init).astype(F64).ravel() / std
    n = z.size
    assert abs(z.mean()) < 4 / math.sqrt(n)
    assert z.var() == pytest.approx(1, abs=4 * math.sqrt(2 / n))
    assert (z**4).mean() == pytest.approx(3, abs=4 * math.sqrt(96 / n))
    for t, share in ((1.0, 0.158655), (2.0, 0.022750), (3.0, 0.00134990)):
        assert (z > t).mean() == pytest.approx(share, abs=4 * math.sqrt(share / n))
        assert (z < -t).mean() == pytest.approx(share, abs=4 * math.sqrt(share / n))
    assert abs(np.corrcoef(z[0::2], z[1::2])[0, 1]) < 4 / math.sqrt(n / 2), (
        "the two of a pair are independent"
    )


@pytest.mark.parametrize(
    ("init", "limit"),
    [
        (nn.Uniform(), 1 / math.sqrt(300)), (nn.Uniform(limit=0.3), 0.3),
        (nn.GlorotUniform(), math.sqrt(6 / 500)), (nn.HeUniform(), math.sqrt(6 / 300)),
    ],
    ids=repr,
)  # fmt: skip
def test_uniform_schemes(init, limit):
    w = sample(init).astype(F64).ravel()
    assert abs(w).max() <= limit * (1 + 1e-6)
    assert abs(w).max() > 0.9995 * limit
    counts, _ = np.histogram(w, bins=20, range=(-limit, limit))
    assert ((counts - w.size / 20) ** 2 / (w.size / 20)).sum() < 45, (
        "χ² of 19 degrees: 45 is the 0.07 % point"
    )
    assert w.var() == pytest.approx(limit**2 / 3, rel=0.02)


def test_zeros_and_constants_are_what_they_say():
    np.testing.assert_array_equal(sample(nn.Zeros(), (2, 3)), np.zeros((2, 3), F32))
    np.testing.assert_array_equal(sample(nn.Constant(0.1), (2, 3)), np.full((2, 3), 0.1, F32))


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (2, 3, 5), (2, 2, 3)])
def test_orthogonal_keeps_lengths(shape):
    q = sample(nn.Orthogonal(gain=3.0), shape, dtype=F64).reshape(-1, shape[-1])
    small = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    np.testing.assert_allclose(small, 9 * np.eye(len(small)), atol=1e-13)


def test_orthogonal_has_no_preferred_direction():
    """The mean of a Haar-distributed matrix is zero; without fixing R's sign its diagonal would not be."""
    mean = np.mean([sample(nn.Orthogonal(), (3, 3), seed=s, dtype=F64) for s in range(400)], axis=0)
    assert abs(mean).max() < 4 / math.sqrt(3 * 400)


def test_fans_come_from_the_shape_unless_given():
    run = nn.Run(training=True)
    run.parameter("dense", (4, 3), nn.Zeros())
    run.parameter("filter", (3, 3, 4, 8), nn.Zeros())
    run.parameter("vector", (5,), nn.Zeros())
    run.parameter("scalar", (), nn.Zeros())
    run.parameter("given", (4, 3), nn.Zeros(), fan=(1, 3))
    assert [p.fan for p in run.parameters.values()] == [(4, 3), (36, 72), (5, 5), (1, 1), (1, 3)]


def test_bad_options_and_bad_samples_are_refused():
    for make in (lambda: nn.Normal(std=-1), lambda: nn.Uniform(limit=-1), lambda: nn.Constant(float("nan"))):
        with pytest.raises(ConfigError, match="must be a number"):
            make()

    class Wrong(nn.Init):
        def sample(self, name, seed, shape, fan, dtype):
            return np.zeros(shape)

    run = nn.Run(training=True)
    run.parameter("W", (2, 3), Wrong())
    with pytest.raises(ConfigError, match=r"gave float64\[2, 3\], float32\[2, 3\] was asked for"):
        run.parameters["W"].initial(0)


# ------------------------------------------------------------------ signals, layer by layer


def trace_deep(init, function, depth=6, width=400, batch=400):
    net = nn.sequential(*[step for _ in range(depth) for step in (nn.Dense(width, init), function)])
    x = ops.input("x", (batch, width))
    y, run = nn.trace(net, x, training=True)
    known = {run.inputs[path]: p.initial(1) for path, p in run.parameters.items()}
    known[x] = np.random.default_rng(0).normal(size=x.shape)
    layers = [run.outputs[f"{function.__name__}_{i}"] for i in range(depth)]
    return known, [x, *layers], y


@pytest.mark.parametrize(
    ("init", "function", "ratio"),
    [
        (nn.Uniform(), ops.identity, 1 / 3), (nn.Uniform(), ops.relu, 1 / 6),
        (nn.LeCunNormal(), ops.identity, 1), (nn.GlorotUniform(), ops.identity, 1),
        (nn.GlorotNormal(), ops.relu, 1 / 2),
        (nn.GlorotUniform(), ops.relu, 1 / 2), (nn.HeNormal(), ops.relu, 1), (nn.HeUniform(), ops.relu, 1),
        (nn.Orthogonal(), ops.identity, 1), (nn.Orthogonal(gain=math.sqrt(2)), ops.relu, 1),
    ],
    ids=lambda v: getattr(v, "__name__", repr(v)),
)  # fmt: skip
def test_second_moment_ratio_per_layer(init, function, ratio):
    """Forward for signals, and with n_in = n_out the same backward for gradients."""
    known, layers, y = trace_deep(init, function)
    c = np.random.default_rng(1).normal(size=y.shape)
    g = gradient(ops.sum(y * ops.constant(c, "float32")), layers)
    found = evaluate([ops.mean(ops.square(node)) for node in (*layers, *g)], known)
    moments, slopes = np.array(found[: len(layers)]), np.array(found[len(layers) :])
    depth = len(layers) - 1
    assert (moments[-1] / moments[0]) ** (1 / depth) == pytest.approx(ratio, rel=0.05)
    assert (slopes[0] / slopes[-1]) ** (1 / depth) == pytest.approx(ratio, rel=0.05)


def test_maxout_of_two_pieces_keeps_the_second_moment():
    net = nn.sequential(*[nn.Maxout(400) for _ in range(4)])
    x = ops.input("x", (300, 400))
    y, run = nn.trace(net, x, training=True)
    known = {run.inputs[path]: p.initial(1) for path, p in run.parameters.items()}
    known[x] = np.random.default_rng(0).normal(size=x.shape)
    (moment,) = evaluate([ops.mean(ops.square(y))], known)
    assert moment == pytest.approx(1, rel=0.1)


def test_variance_of_a_product():
    """Var(wx) = E[w]²Var x + E[x]²Var w + Var w·Var x."""
    generator = np.random.default_rng(0)
    x = 0.5 + generator.normal(size=200_000)
    w = 0.2 + sample(nn.Normal(std=0.7), (200_000,), dtype=F64)
    expected = w.mean() ** 2 * x.var() + x.mean() ** 2 * w.var() + w.var() * x.var()
    assert (w * x).var() == pytest.approx(expected, rel=0.02)


# ------------------------------------------------------------------ starts that cannot learn


def gradients_from(init, function):
    """Gradients of ½‖y − t‖² for 5-4-3 networks whose weights start by ``init``."""
    net = nn.sequential(nn.Dense(4, init), function, nn.Dense(3, init))
    x, t = ops.input("x", (6, 5), "float64"), ops.input("t", (6, 3), "float64")
    y, run = nn.trace(net, x, training=True, dtype="float64")
    loss = 0.5 * ops.sum(ops.square(y - t))
    generator = np.random.default_rng(0)
    known = {run.inputs[path]: p.initial(0) for path, p in run.parameters.items()}
    known |= {x: generator.normal(size=x.shape), t: generator.normal(size=t.shape)}
    return dict(zip(run.inputs, evaluate(gradient(loss, list(run.inputs.values())), known), strict=True))


@pytest.mark.parametrize("function", [ops.tanh, ops.relu], ids=lambda f: f.__name__)
def test_from_zeros_only_the_output_bias_learns(function):
    g = gradients_from(nn.Zeros(), function)
    assert np.abs(g.pop("dense_1/b")).min() > 0
    assert all(not a.any() for a in g.values())


def test_from_zeros_with_sigmoid_the_output_weights_learn_but_hidden_units_stay_alike():
    g = gradients_from(nn.Zeros(), ops.sigmoid)
    assert np.abs(g["dense_1/W"]).min() > 0
    assert not g["dense_0/W"].any()
    assert np.ptp(g["dense_1/W"], axis=0).max() == 0


@pytest.mark.parametrize("function", [ops.tanh, ops.relu, ops.sigmoid], ids=lambda f: f.__name__)
def test_from_a_constant_hidden_units_stay_alike(function):
    g = gradients_from(nn.Constant(0.3), function)
    assert np.ptp(g["dense_0/W"], axis=1).max() < 1e-14
    assert np.ptp(g["dense_1/W"], axis=0).max() < 1e-14
    assert np.ptp(gradients_from(nn.HeNormal(), function)["dense_0/W"], axis=1).max() > 0.01


# ------------------------------------------------------------------ layer-sequential unit variance


def forward_of(net, x):
    given = ops.input("x", x.shape)
    _, run = nn.trace(net, given, training=False)

    def forward(arrays):
        known = {given: x} | {run.inputs[path]: a for path, a in arrays.items()}
        return dict(zip(run.outputs, evaluate(list(run.outputs.values()), known), strict=True))

    return run, forward


@pytest.mark.parametrize("init", [nn.Orthogonal(), nn.Normal(std=0.01), nn.HeNormal()], ids=repr)
def test_layer_sequential_unit_variance_gives_every_layer_variance_1(init):
    net = nn.sequential(
        nn.Dense(30, init), ops.tanh, nn.Maxout(20, init=init), nn.Dense(10, init), nn.PReLU()
    )
    x = np.random.default_rng(0).normal(3, 5, size=(200, 15)).astype("float32")
    run, forward = forward_of(net, x)
    start = {path: p.initial(0) for path, p in run.parameters.items()}
    kept = {path: a.copy() for path, a in start.items()}
    scaled = nn.layer_sequential_unit_variance(run.parameters, start, forward)
    outputs = forward(scaled)
    for layer in ("dense_0", "maxout_0", "dense_1"):
        assert outputs[layer].var() == pytest.approx(1, abs=0.1)
        ratio = scaled[f"{layer}/W"] / start[f"{layer}/W"]
        np.testing.assert_allclose(ratio, ratio.ravel()[0], rtol=1e-5)
    assert all(np.array_equal(start[path], kept[path]) for path in start), "nothing is changed in place"
    assert np.array_equal(scaled["prelu_0/slope"], start["prelu_0/slope"])


def test_layer_sequential_unit_variance_names_a_layer_without_variance():
    net = nn.sequential(nn.Dense(4), ops.relu, nn.Dense(3, nn.Zeros()))
    run, forward = forward_of(net, np.ones((5, 2), "float32") * np.arange(5, dtype="float32")[:, None])
    start = {path: p.initial(0) for path, p in run.parameters.items()}
    with pytest.raises(DataError, match=r"layer 'dense_1': its output has variance 0\.0"):
        nn.layer_sequential_unit_variance(run.parameters, start, forward)
    with pytest.raises(
        ConfigError, match=r"forward gives no output of layer 'dense_0'; did you mean 'dense'"
    ):
        nn.layer_sequential_unit_variance(run.parameters, start, lambda arrays: {"dense": np.ones(3)})
