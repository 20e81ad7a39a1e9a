"""A picture in words: handwritten digits side by side, told one after another.

Image → sequence, as captions are made: the encoder cuts the picture into strips (a convolution), each of
which attends to all others; the decoder attends to the strips and writes words until it has said them all.
Nobody says where a digit stands, or how many there are. The digits of the test come from MNIST's test set.
A wrong caption counts as wrong as a whole. In the picture: where the decoder looks while it writes each word.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import chainrule as cr
from chainrule import nn
from chainrule.tasks.decoding import Decoder
from gallery import picture, run

EXPECTED = {"words right": (0.15, 1)}
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
END, WIDTH, STRIPS, LONGEST = 10, 112, 27, 5  # END stands before and after each caption


def captioned(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, list[list[int]]]:
    """One to four digits in a picture of 28 × 112, with gaps of chance between them."""
    rng = np.random.default_rng(seed)
    pictures, captions = np.zeros((n, 28, WIDTH), np.uint8), []
    for image in pictures:
        chosen = rng.integers(0, len(x), rng.integers(1, 5))
        gaps = np.sort(rng.integers(0, WIDTH - 28 * len(chosen) + 1, len(chosen)))
        for place, digit in enumerate(chosen):
            start = 28 * place + gaps[place]
            image[:, start : start + 28] = x[digit].reshape(28, 28)
        captions.append([int(y[digit]) for digit in chosen])
    return pictures, captions


def network(units: int, blocks: int) -> cr.Network:
    """Strips of 8 columns, 4 apart → blocks that attend; words → blocks that attend to both."""
    strips = nn.sequential(
        nn.Reshape((28, WIDTH, 1)), nn.Rescale(), nn.Conv2D(units, (28, 8), stride=(28, 4)),
        nn.Reshape((STRIPS, units)),
    )  # fmt: skip
    reader = nn.SequenceStack(strips, (nn.TransformerBlock(4),) * blocks)
    words = nn.Embedding(END + 1, units, nn.Normal(std=1.0))
    writer = nn.SequenceStack(words, (nn.TransformerBlock(4, causal=True),) * blocks)
    return cr.Network(nn.EncoderDecoder(reader, writer, nn.Dense(END + 1)))


def shown(captions: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """What comes before each word, and the words, with the end; −1 past it."""
    y = np.full((len(captions), LONGEST), -1)
    for row, caption in zip(y, captions, strict=True):
        row[: len(caption) + 1] = [*caption, END]
    before = np.roll(y, 1, axis=1)
    before[:, 0] = END
    return np.where(before < 0, END, before), y


def main(short: bool) -> tuple[dict[str, float], Figure]:
    """Learn captions of digits from the training set, tell those of the test set."""
    digits = cr.datasets.mnist()
    images, captions = captioned(digits.x_train, digits.y_train, 800 if short else 12000, seed=1)
    unseen, wanted = captioned(digits.x_test, digits.y_test, 60 if short else 1000, seed=2)
    before, y = shown(captions)
    net = network(24 if short else 64, 1 if short else 2)
    net.fit(
        {"source": images, "target": before}, y, loss=cr.losses.CrossEntropy(ignore_index=-1), metrics=[],
        epochs=10 if short else 8, batch_size=25 if short else 64, learning_rate=0.006 if short else 0.002,
        schedule=cr.optim.WarmUp(), threads=1, executor="reference" if short else "auto", verbose=0,
    )  # fmt: skip
    answers, _ = Decoder(net, begin=END, end=END, longest=LONGEST)(unseen)
    pairs = [(a, b) for one, two in zip(answers, wanted, strict=True) for a, b in zip(one, two, strict=False)]
    figures = {
        "captions right": float(np.mean([a.tolist() == b for a, b in zip(answers, wanted, strict=True)])),
        "words right": sum(a == b for a, b in pairs) / sum(map(len, wanted)),
    }
    figure, axes = picture(2, 2, size=(4.2, 1.9))
    rows = [next(i for i, caption in enumerate(wanted) if len(caption) == n) for n in (4, 3, 2, 1)]
    told = [answers[i].tolist() for i in rows]
    signals = net.signals({"source": unseen[rows], "target": shown(told)[0]})
    looks = [w for name, w in signals.items() if name.endswith("cross_attention/weights")][-1].mean(axis=1)
    for axis, image, answer, look in zip(axes.flat, unseen[rows], told, looks, strict=True):
        axis.imshow(image, cmap="gray_r")
        for place, word in enumerate(answer):
            axis.plot(4 * np.arange(STRIPS) + 4, 62 - 30 * look[place] / look.max(), label=WORDS[word])
        axis.set(title=" ".join(WORDS[word] for word in answer), xticks=[], yticks=[], ylim=(64, 0))
    return figures, figure


if __name__ == "__main__":
    run(main)
