"""JAX: one compiled scan over the epoch, batches gathered inside it, the state donated. Convolutions take ten
times as long inside of a scan, so that with them every step is a call."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.accuracy_recipe import EPOCHS, NETWORK, TARGET, Digits, Trained, rate
from bench.ready import Peer, Ready, in_blocks
from bench.workloads import Array, Recurrence, Workload


def initial(w: Workload) -> Any:
    """Parameters, running statistics, Adam's m and v, the steps taken, the random key."""
    import jax
    import jax.numpy as jnp

    parameters = []
    for weight, bias in w.weights():
        layer = {"W": jnp.asarray(weight), "b": jnp.asarray(bias)}  # an empty b learns nothing
        if w.batch_norm:
            layer |= {"scale": jnp.ones(len(bias)), "offset": jnp.zeros(len(bias))}
        parameters.append(layer)
    parameters[-1] = {name: parameters[-1][name] for name in ("W", "b")}
    widths = w.sizes[1:-1] if w.batch_norm else ()
    running = [(jnp.zeros(n), jnp.ones(n)) for n in widths]
    m, v = (jax.tree.map(jnp.zeros_like, parameters) for _ in range(2))
    return parameters, running, m, v, jnp.float32(0), jax.random.key(0)


def forward(w: Workload, θ: Any, running: Any, x: Any, key: Any = None) -> tuple[Any, Any]:
    """The output, and the next running statistics; with a key as in training."""
    import jax
    import jax.numpy as jnp

    if isinstance(w, Recurrence):
        h = recurrent(w, θ, x)
        return h @ θ[-1]["W"] + θ[-1]["b"], []
    h, following = x, []
    kernels, θ = θ[: len(w.filters)], θ[len(w.filters) :]
    for layer in kernels:
        sides = ("NHWC", "HWIO", "NHWC")
        h = jax.lax.conv_general_dilated(h, layer["W"], (1, 1), "VALID", dimension_numbers=sides)
        h = jax.nn.relu(h + layer["b"])
    if kernels:
        window = (1, 2, 2, 1)
        h = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, window, window, "VALID").reshape(len(h), -1)
    for i, layer in enumerate(θ[:-1]):
        h = h @ layer["W"] + layer["b"]
        if w.batch_norm:
            μ, variance = running[i] if key is None else (h.mean(0), h.var(0))
            following.append(tuple(0.9 * a + 0.1 * b for a, b in zip(running[i], (μ, variance), strict=True)))
            h = (h - μ) * jax.lax.rsqrt(variance + 1e-5) * layer["scale"] + layer["offset"]
        h = jax.nn.relu(h) if w.activation == "relu" else jnp.tanh(h)
        if w.dropout and key is not None:
            key, now = jax.random.split(key)
            h = jnp.where(jax.random.bernoulli(now, 1 - w.dropout, h.shape), h / (1 - w.dropout), 0)
    return h @ θ[-1]["W"] + θ[-1]["b"], following


def recurrent(w: Recurrence, θ: Any, x: Any) -> Any:
    """The last state of an LSTM; the inputs of all steps are projected before the scan."""
    import jax
    import jax.numpy as jnp

    rows = x.reshape(-1, w.length, w.width).swapaxes(0, 1)
    zero = jnp.zeros((len(x), w.sizes[1]), x.dtype)

    def step(state: Any, z: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(z + h @ θ[1]["W"], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    return jax.lax.scan(step, (zero, zero), rows @ θ[0]["W"] + θ[0]["b"])[0][0]


def mean_loss(w: Workload, θ: Any, running: Any, x: Any, y: Any, key: Any) -> tuple[Any, Any]:
    import jax
    import jax.numpy as jnp

    z, running = forward(w, θ, running, x, key)
    if w.loss == "cross_entropy":
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1)), running
    return jnp.mean((z - y) ** 2), running


def step(w: Workload, state: Any, x: Any, y: Any, η: Any) -> tuple[Any, Any]:
    """(state, one batch, learning rate) → (state, loss)"""
    import jax
    import jax.numpy as jnp

    θ, running, m, v, t, key = state
    each, t = jax.tree.map, t + 1
    key, now = jax.random.split(key) if w.dropout else (key, key)
    gradient = jax.value_and_grad(lambda θ: mean_loss(w, θ, running, x, y, now), has_aux=True)
    (loss, running), g = gradient(θ)
    if w.optimizer == "sgd":
        return (each(lambda p, d: p - η * d, θ, g), running, m, v, t, key), loss
    m = each(lambda a, d: 0.9 * a + 0.1 * d, m, g)
    v = each(lambda a, d: 0.999 * a + 0.001 * d * d, v, g)
    c1, c2 = 1 - 0.9**t, 1 - 0.999**t
    θ = each(lambda p, a, b: p - η * (a / c1) / (jnp.sqrt(b / c2) + 1e-8), θ, m, v)
    return (θ, running, m, v, t, key), loss


def predictor(w: Workload, state: list[Any]) -> Callable[[Array], Array]:
    import jax

    run = jax.jit(lambda θ, running, rows: forward(w, θ, running, rows)[0])
    return in_blocks(lambda rows: np.asarray(run(*state[0][:2], rows)))


def ready(w: Workload) -> Ready:
    import jax
    import jax.numpy as jnp

    x, y = map(jnp.asarray, w.data())
    generator, state = np.random.default_rng(2), [initial(w)]

    def one(state: Any, rows: Any) -> Any:
        return step(w, state, x[rows], y[rows], w.learning_rate)

    if w.filters:
        advance = jax.jit(one, donate_argnums=0)

        def run(state: Any, order: Any) -> Any:
            losses = []
            for rows in order:
                state, loss = advance(state, rows)
                losses.append(loss)
            return state, jnp.stack(losses)
    else:
        run = jax.jit(lambda state, rows: jax.lax.scan(one, state, rows), donate_argnums=0)

    def epochs(count: int, shuffle: bool) -> Any:
        for _ in range(count):
            order = generator.permutation(w.rows) if shuffle else np.arange(w.rows)
            state[0], losses = run(state[0], order.reshape(w.steps, w.batch))
        return jax.block_until_ready(losses)

    def checked(count: int) -> float:
        return float(epochs(count, False).mean())

    return Ready(lambda count: epochs(count, True), checked, predictor(w, state))


def accuracy(digits: Digits, seed: int) -> Trained:
    import jax
    import jax.numpy as jnp

    w = dataclasses.replace(NETWORK, seed=seed)
    x, y = jnp.asarray(digits.x_train), jnp.asarray(digits.y_train)
    generator, state = np.random.default_rng(seed), [initial(w)]
    predict, reached, spent = predictor(w, state), [], 0.0

    def one(state: Any, now: Any) -> Any:
        rows, η = now
        return step(w, state, x[rows], y[rows], η)[0], None

    run = jax.jit(lambda state, now: jax.lax.scan(one, state, now)[0], donate_argnums=0)
    steps = len(x) // w.batch
    for epoch in range(EPOCHS):
        began = time.perf_counter()
        order = generator.permutation(len(x))[: steps * w.batch].reshape(steps, w.batch)
        η = np.array([rate(epoch * steps + k, EPOCHS * steps) for k in range(steps)], np.float32)
        state[0] = jax.block_until_ready(run(state[0], (order, η)))
        spent += time.perf_counter() - began
        reached.append((spent, digits.accuracy(predict)))
        if reached[-1][1] >= TARGET:
            break
    return reached


ONE_CORE = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}
JAX = Peer("JAX scan", "jax", ("jax", "jax.numpy"), ready, one_core=ONE_CORE, accuracy=accuracy)
