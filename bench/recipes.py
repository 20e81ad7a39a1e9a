"""Test errors of the MNIST recipes over several seeds: ``python -m bench.recipes lecture best --seeds 3``.

Two seeds train side by side, with one BLAS thread each. The test set is read once a seed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import multiprocessing
import os
import time
from statistics import mean

from bench.page import machine, write_section


def run(name: str, seed: int) -> tuple[int, int, float, str]:
    """One run on all 60,000 training images. → (seed, wrong of 10,000, seconds, hash of the weights)"""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import chainrule as cr
    from chainrule.recipes import RECIPES

    recipe, data = RECIPES[name], cr.datasets.mnist()
    net = cr.Network(*recipe.layers, seed=seed)
    began = time.perf_counter()
    history = net.fit(
        data.x_train, data.y_train, loss=recipe.loss, optimizer=recipe.optimizer, schedule=recipe.schedule,
        augment=recipe.augment, epochs=recipe.epochs, batch_size=recipe.batch_size, verbose=0,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    wrong = int((net.predict(data.x_test) != data.y_test).sum())
    return seed, wrong, seconds, history.sha256[:12]


def sizes(name: str) -> str:
    """``784-225-144-10``"""
    from chainrule.nn import Dense
    from chainrule.recipes import RECIPES

    units = [layer.units for layer in RECIPES[name].layers if isinstance(layer, Dense)]
    return "-".join(map(str, [784, *units]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    from chainrule.recipes import RECIPES

    fresh = multiprocessing.get_context("spawn")  # a fork would keep this process's BLAS and its threads
    for name in asked.names:
        workers = min(2, os.cpu_count() or 1)
        with concurrent.futures.ProcessPoolExecutor(max_workers=workers, mp_context=fresh) as pool:
            rows = list(pool.map(run, [name] * asked.seeds, range(asked.seeds)))
        error = mean(wrong for _, wrong, _, _ in rows) / 100
        print(f"{name}: mean test error {error:.2f} % over {asked.seeds} seeds", flush=True)
        write_section(
            f"MNIST, recipe {name}",
            [
                f"{sizes(name)}, {RECIPES[name].description}: {RECIPES[name].epochs} epochs of batches "
                f"of {RECIPES[name].batch_size}.",
                f"Mean test error over {asked.seeds} seeds: **{error:.2f} %**. The recipe was chosen on the",
                "last 10,000 training images; the test set was read once a seed. Two runs side by side, one",
                "BLAS thread each.",
                f"Command: `python -m bench.recipes {name} --seeds {asked.seeds}`.",
                "",
                "| seed | wrong of 10,000 | test error | seconds of training | SHA-256 of the weights |",
                "| ---: | ---: | ---: | ---: | --- |",
                *(f"| {s} | {w} | {w / 100:.2f} % | {t:.0f} | {sha}… |" for s, w, t, sha in rows),
                "",
                machine(),
            ],
        )


if __name__ == "__main__":
    main()
