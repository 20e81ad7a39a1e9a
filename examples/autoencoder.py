"""Auto-encoders: images through a narrow code.

An encoder makes a few numbers of an image of a digit (8 by 8 pixels, scikit-learn's), a decoder makes the
image of the numbers again, and both learn from the images alone. Without hidden layers the best that can be
done is the subspace of principal components; a linear auto-encoder finds it (Bourlard and Kamp 1988), as
the figures show. With hidden layers the codes bend along the data (Hinton and Salakhutdinov 2006). A
decoder whose weights are the encoder's, transposed, has half the parameters and does as well. Errors are
shares of the variance of images that were not learned from. Right: what two numbers tell of a digit.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import chainrule as cr
from chainrule.nn import Dense, TiedDense, sequential
from chainrule.ops import relu
from gallery import picture, run

EXPECTED = {
    "linear auto-encoder over PCA, 8 numbers": (0.99, 1.35),
    "deep over PCA, 8 numbers": (0.2, 0.92),
    "tied over PCA, 8 numbers": (0.2, 0.9),
}


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images to learn from, others, and what the others show."""
    images, labels = load_digits(return_X_y=True)
    images = ((images - images[:1300].mean(0)) / 16).astype("float32")
    return images[:1300], images[1300:], labels[1300:]


def network(kind: str, code: int) -> cr.Network:
    """An encoder and a decoder: linear, deep, or deep with the encoder's weights in the decoder."""
    if kind == "linear":
        return cr.Network(encoder=Dense(code), decoder=Dense(64))
    encoder = sequential(Dense(256), relu, Dense(code))
    if kind == "tied":
        return cr.Network(
            encoder=encoder,
            decoder=sequential(TiedDense("encoder/dense_1"), relu, TiedDense("encoder/dense_0")),
        )
    return cr.Network(encoder=encoder, decoder=sequential(Dense(256), relu, Dense(64)))


def left_over(images: np.ndarray, made: np.ndarray) -> float:
    """The share of the variance that is lost."""
    return float(((images - made) ** 2).sum() / ((images - images.mean(0)) ** 2).sum())


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Errors by the size of the code, and a code of two."""
    x, unseen, labels = data()
    sizes, kinds = ([8] if short else [2, 4, 8, 16]), ("linear", "tied", "deep")
    errors: dict[str, list[float]] = {"PCA": [], **{kind: [] for kind in kinds}}
    learned = {}
    for code in sizes:
        basis = PCA(code, svd_solver="full").fit(x)
        errors["PCA"].append(left_over(unseen, basis.inverse_transform(basis.transform(unseen))))
        for kind in kinds:
            learned[kind, code] = net = network(kind, code)
            net.fit(x, x, epochs=25 if short else 100, learning_rate=5e-3, verbose=0)
            errors[kind].append(left_over(unseen, net.predict(unseen)))
    at = sizes.index(8)
    figures = {f"lost with 8 numbers, {kind}": found[at] for kind, found in errors.items()}
    names = {"linear": "linear auto-encoder", "deep": "deep", "tied": "tied"}
    figures |= {f"{name} over PCA, 8 numbers": errors[k][at] / errors["PCA"][at] for k, name in names.items()}
    figures |= {
        f"parameters, {k}": float(sum(a.size for a in learned[k, 8].parameters.values())) for k in kinds
    }

    figure, (left, right) = picture(1, 2, size=(3.4, 3.0))
    for (kind, found), style in zip(errors.items(), ("k--", "s", "^-", "o-"), strict=True):
        left.plot(sizes, found, style, label=kind)
    left.set(title="variance lost", xlabel="numbers in the code", xticks=sizes, ylim=(0, None))
    left.legend()
    codes = learned["deep", sizes[0]].part("encoder").output(unseen)[:, :2]
    for digit in range(10):
        at_digit = codes[labels == digit]
        right.scatter(*at_digit.T, s=4, color=f"C{digit % 7}", alpha=0.4)
        right.annotate(
            str(digit), np.median(at_digit, 0), fontsize=13, weight="bold", ha="center", va="center"
        )
    right.set(title="a code of two numbers", xticks=[], yticks=[])
    return figures, figure


if __name__ == "__main__":
    run(main)
