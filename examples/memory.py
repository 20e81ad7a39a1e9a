"""Memory: what a recurrent network still knows after many steps.

The adding problem of Hochreiter and Schmidhuber (1997): of a sequence of random numbers two are marked, and
their sum is asked for at the end; always to answer 1 costs 1/6 (dashed). The gradient has to come back over
all steps between. Elman's network multiplies it by the same matrix at each of them; the gates of GRU and
LSTM let the state pass untouched, and the longer the sequence, the more that is worth. The sequences are of
unequal lengths: what lies past an end changes nothing.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import chainrule as cr
from chainrule.nn import GRU, LSTM, Dense, Elman
from gallery import COLOURS, picture, run

CELLS = {"Elman": Elman, "GRU": GRU, "LSTM": LSTM}
EXPECTED = {"error after 10 steps, GRU": (0.0, 0.08), "error after 10 steps, LSTM": (0.0, 0.12)}


def problem(n: int, steps: int, seed: int) -> tuple[cr.data.Sequence, np.ndarray]:
    """(numbers and marks, with lengths from half of the steps on; the sums of what is marked)"""
    rng = np.random.default_rng(seed)
    values, lengths = rng.random((n, steps, 2)).astype("float32"), rng.integers(steps // 2, steps + 1, n)
    values[..., 1] = 0
    places = np.stack([rng.integers(0, lengths // 2), rng.integers(lengths // 2, lengths)], 1)
    values[np.arange(n)[:, None], places, 1] = 1
    sums = values[np.arange(n)[:, None], places, 0].sum(1, keepdims=True)
    return cr.data.Sequence(values, lengths), sums


def error(kind: type, steps: int, rows: int, epochs: int) -> tuple[float, np.ndarray]:
    """(mean squared error on sequences that are new, the training loss of every epoch)"""
    network = cr.Network(kind(32), Dense(1))
    history = network.fit(
        *problem(rows, steps, 0), epochs=epochs, batch_size=50, learning_rate=5e-3,
        optimizer=cr.optim.Adam(clip_norm=1.0), verbose=0,
    )  # fmt: skip
    x, y = problem(1000, steps, 1)
    return float(np.mean((network.predict(x) - y) ** 2)), history["loss"]


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Every cell on short and on longer sequences."""
    lengths, rows, epochs = ((10,), 1500, 12) if short else ((10, 30, 60), 4000, 30)
    figure, axes = picture(1, len(lengths), size=(2.7, 2.5), sharey=True, squeeze=False)
    figures = {}
    for place, steps in zip(axes[0], lengths, strict=True):
        for (name, kind), colour in zip(CELLS.items(), COLOURS, strict=False):
            figures[f"error after {steps} steps, {name}"], losses = error(kind, steps, rows, epochs)
            place.semilogy(range(1, epochs + 1), losses, color=colour, label=name)
        place.axhline(1 / 6, linestyle="--", color="#888888", linewidth=0.8)
        place.set(title=f"{steps} steps", xlabel="epoch")
    axes[0, 0].set_ylabel("squared error in training")
    axes[0, 0].legend()
    return figures, figure


if __name__ == "__main__":
    run(main)
