"""Seconds of training until 98.5 % of MNIST's test images are right, one recipe for every library.

python -m bench.accuracy      shows what the recipe reaches on held-out training images
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence

from bench.accuracy_recipe import TARGET, Digits
from bench.family import Family
from bench.peers import OURS, SUBJECTS
from bench.results import Results


def race(results: Results, subjects: Sequence[str], rounds: int) -> None:
    """Round k begins with the initial weights of seed k; a process trains alone, the others are stopped."""
    able = [s for s in subjects if SUBJECTS[s].accuracy is not None]
    for seed in range(rounds):
        # An empty cache, so that compiling counts for us as it does for the others.
        with tempfile.TemporaryDirectory() as cache, Family(able, "all", cache) as children:
            for subject, child in children.items():
                epochs = child.ask("accuracy", seed=seed)["epochs"]
                seconds, best = epochs[-1][0], max(found for _, found in epochs)
                told = f"{best:.2%} after {len(epochs)} epochs, {seconds:.1f} s of training"
                print(f"MNIST, seed {seed}: {subject}: {told}", flush=True)
                results.add(("accuracy epochs", "all", "MNIST", subject), len(epochs))
                if best >= TARGET:
                    results.add(("accuracy", "all", "MNIST", subject), seconds)
                else:
                    results.notes.append(f"MNIST, seed {seed}: {subject} came to {best:.2%} only")


def main() -> None:
    subject = sys.argv[1] if len(sys.argv) > 1 else OURS
    train = SUBJECTS[subject].accuracy
    assert train is not None
    for seed in range(3):
        for epoch, (seconds, found) in enumerate(train(Digits.load(held_out=10_000), seed)):
            print(f"seed {seed}, epoch {epoch}: {found:.2%} of the held-out images, {seconds:.1f} s")


if __name__ == "__main__":
    main()
