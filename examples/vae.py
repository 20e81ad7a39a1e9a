"""A variational auto-encoder of digits: a likelihood bound, and digits that nobody wrote.

The encoder says of each image which codes it may have come from, as a Gaussian; the decoder says of each
code what the pixels are. Training raises the evidence lower bound log p(x) ≥ E[log p(x | z)] − KL(q(z | x)
‖ p(z)) (Kingma and Welling 2014): the layer `GaussianSample` draws the code and adds the KL, the loss is
the rest. Codes drawn from N(0, 1) then give new digits: the last row of the picture, under real ones and
what is made of their codes.

The images were made binary at random, once: a pixel is 1 with its grey value as probability (Salakhutdinov
and Murray 2008). The network is 784-400-(20 means, 20 variances)-400-784: 652,824 parameters. The bound on
the 10,000 test images is estimated with one code for each; the tighter one of Burda et al. (2016) averages
the weights of 50.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import chainrule as cr
from chainrule.losses import BinaryCrossEntropy
from chainrule.nn import Dense, GaussianSample, sequential
from chainrule.ops import relu
from gallery import picture, run

CODE = 20
EXPECTED = {"test bound (ELBO), nats": (-190, -100), "of it the KL, nats": (5, 40)}


def binary(images: np.ndarray, seed: int) -> np.ndarray:
    """0 or 1 for each pixel, drawn with its grey value as probability."""
    uniform = np.random.default_rng(seed).random(images.shape, "float32")
    return (uniform < images / np.float32(255)).reshape(len(images), -1).astype("float32")


def log_weights(network: cr.Network, x: np.ndarray, codes: int, seed: int) -> np.ndarray:
    """log p(x | z) p(z) / q(z | x) of codes z drawn from q for each x.   (n, codes)

    Their mean estimates the bound; the logarithm of the mean of their exponentials the tighter one.
    """
    said = network.part("encoder").output(x).astype("float64")
    mean, deviation = said[:, :CODE], np.exp(said[:, CODE:] / 2)
    rng, decoder, found = np.random.default_rng(seed), network.part("decoder"), []
    for _ in range(codes):
        noise = rng.normal(size=mean.shape)
        z = mean + deviation * noise
        logits = decoder.output(z.astype("float32")).astype("float64")
        likelihood = (x * logits - np.logaddexp(0, logits)).sum(1)
        found.append(likelihood + (0.5 * noise**2 + np.log(deviation) - 0.5 * z**2).sum(1))
    return np.stack(found, 1)


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Train, bound the likelihood of the test images, draw digits from the prior."""
    data = cr.datasets.mnist()
    x, unseen = binary(data.x_train, 0), binary(data.x_test, 1)
    if short:
        x, unseen = x[:3000], unseen[:500]
    hidden = 64 if short else 400
    network = cr.Network(
        encoder=sequential(Dense(hidden), relu, Dense(2 * CODE)),
        code=GaussianSample(),
        decoder=sequential(Dense(hidden), relu, Dense(784)),
    )
    network.fit(
        x, x, loss=BinaryCrossEntropy(outputs="sum"), epochs=15 if short else 40, batch_size=100,
        learning_rate=2e-3, verbose=0,
    )  # fmt: skip
    weights = log_weights(network, unseen, 5 if short else 50, seed=2)
    top = weights.max(1)
    share = 0.998 * x.mean(0) + 0.001
    blank = np.log(share / (1 - share))
    figures = {
        "parameters": float(sum(a.size for a in network.parameters.values())),
        "test bound (ELBO), nats": weights[:, 0].mean(),
        "of it the KL, nats": network.evaluate(unseen, unseen)["loss/code/kl"],
        "tighter bound, 50 codes, nats": (top + np.log(np.exp(weights - top[:, None]).mean(1))).mean(),
        "without a code, each pixel's own share, nats": (unseen * blank - np.logaddexp(0, blank))
        .sum(1)
        .mean(),
    }
    figure, axes = picture(3, 1, size=(6.4, 0.72))
    decoder, codes = network.part("decoder"), np.random.default_rng(3).normal(size=(10, CODE))
    drawn = 1 / (1 + np.exp(-decoder.output(codes.astype("float32"))))
    rows = {
        "test images": unseen[:10],
        "from their codes": network.predict_proba(unseen[:10]),
        "drawn": drawn,
    }
    for axis, (title, images) in zip(axes, rows.items(), strict=True):
        axis.imshow(np.hstack([*images.reshape(-1, 28, 28)]), cmap="gray_r", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
        axis.set_ylabel(title, rotation=0, ha="right", va="center")
        axis.spines[:].set_visible(False)
    return figures, figure


if __name__ == "__main__":
    run(main)
