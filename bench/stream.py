"""Training on more rows than there is memory for: python -m bench.stream [--rows 10000000] [--memory 2e9].

Parquet files of so many rows and 50 columns are written to a temporary folder. A process of its own trains
one epoch on them, while its anonymous memory and that of its children is looked at; every row that comes to a
step is counted. Then the first million rows are trained on twice, from a stream and from memory, and the
losses compared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.data import stream_table
from chainrule.nn import Dense
from chainrule.ops import relu
from chainrule.train import Callback, Watch

COLUMNS = 50  # a number for each row, 48 features, the target
GROUP = 1 << 17  # rows of a row group
FILE = 1_000_000  # rows of a file
COMPARED, EPOCHS = 1_000_000, 3  # rows on which both train; after one epoch luck still decides
TOLERANCE = 0.01
BATCH = 256


def write(folder: Path, rows: int) -> None:
    """y is a smooth rule of three columns, with noise."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ["row", *(f"x{i}" for i in range(COLUMNS - 2)), "y"]
    for start in range(0, rows, FILE):
        count = min(FILE, rows - start)
        rng = np.random.default_rng(start)
        x = rng.standard_normal((COLUMNS - 2, count), dtype=np.float32)
        score = x[0] * x[1] + np.sin(2 * x[2]) + 0.5 * rng.standard_normal(count, dtype=np.float32)
        y = np.where(score > 0, "yes", "no")
        table = pa.table([np.arange(start, start + count), *x, y], names=names)
        pq.write_table(table, folder / f"{start // FILE:04d}.parquet", row_group_size=GROUP)


# ------------------------------------------------------------------ one training


@dataclass(frozen=True)
class WithoutNumber(cr.nn.Layer):
    """All columns but the row's number."""

    def __call__(self, x: Any, run: Any) -> Any:
        return x[:, 1:]


@dataclass(frozen=True)
class Number(cr.nn.Layer):
    """All columns; its output is watched."""

    def __call__(self, x: Any, run: Any) -> Any:
        return x


def first_column(x: Any) -> Any:
    return x[:, 0]


class Counting(Callback):
    """How often each row came to a step."""

    steers = False
    watch = (Watch("number_0", reduce=first_column),)

    def __init__(self, rows: int, mean: float, scale: float) -> None:
        self.times = np.zeros(rows, np.uint8)
        self.mean, self.scale = mean, scale

    def chunk(self, chunk: Any) -> None:
        (seen,) = chunk.watched.values()
        rows = np.rint(seen.ravel().astype(np.float64) * self.scale + self.mean).astype(np.int64)
        np.add.at(self.times, rows, 1)


def network() -> cr.Network:
    return cr.Network(Number(), WithoutNumber(), Dense(64), relu, Dense(32), relu, Dense(2))


def train(files: list[str], where: str, epochs: int) -> dict[str, Any]:
    """Some epochs on the rows of some files, from a stream or from memory."""
    began = time.perf_counter()
    stream = stream_table(files, "y", kinds={"row": "numeric"}, batch_size=BATCH, ahead=True)
    surveyed = time.perf_counter()
    options = {"epochs": epochs, "executor": "cpu", "verbose": 0}
    if where == "memory":
        x, y = in_memory(stream)
        history = network().fit(x, y, batch_size=BATCH, **options)
        return {"loss": float(history["loss"][-1])}
    place = {key: float(stream.state[f"encoder/row/{key}"]) for key in ("mean", "scale")}
    counting = Counting(stream.rows, **place)
    history = network().fit(stream, callbacks=[counting], **options)
    return {
        "rows": stream.rows,
        "once": int(np.count_nonzero(counting.times == epochs)),
        "survey": surveyed - began,
        "seconds": float(history["seconds"].sum()),
        "loss": float(history["loss"][-1]),
        "stated": stream.nbytes,
    }


def in_memory(stream: Any) -> tuple[Any, Any]:
    """All rows of a stream as two arrays, in the order of the data."""
    from dataclasses import replace

    x = np.empty((stream.rows, COLUMNS - 1), np.float32)
    y, at = np.empty(stream.rows, np.int64), 0
    for block in replace(stream, shuffle=False).epoch(0):
        rows = slice(at, at + len(block.rows))
        x[rows], y[rows], at = block.inputs["x"][block.rows], block.targets["y"][block.rows], rows.stop
    return x, y


# ------------------------------------------------------------------ memory of another process


def descendants(pid: int) -> Iterator[int]:
    """A process and all that it started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            yield from descendants(int(child))


def anonymous(pid: int) -> int:
    """Bytes that are in memory and in no file, of a process and its descendants."""
    total = 0
    for one in descendants(pid):
        status = Path(f"/proc/{one}/status").read_text()
        total += sum(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon"))
    return total


def measured(files: list[str], where: str, epochs: int) -> dict[str, Any]:
    """What a training in a process of its own tells, and the most memory that it was seen to use."""
    command = [sys.executable, "-m", "bench.stream", "--train", where, "--epochs", str(epochs), *files]
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            try:
                peak = max(peak, anonymous(process.pid))
            except (FileNotFoundError, ProcessLookupError):
                continue  # one of them has ended meanwhile
            time.sleep(0.02)
        told = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"training from {where} ended with {process.returncode}")
    return {**json.loads(told), "peak": peak}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.stream", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--memory", type=float, default=2e9, help="bytes that are allowed")
    parser.add_argument("--train", choices=("stream", "memory"), help=argparse.SUPPRESS)
    parser.add_argument("--epochs", type=int, help=argparse.SUPPRESS)
    parser.add_argument("files", nargs="*", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.train:
        print(json.dumps(train(asked.files, asked.train, asked.epochs)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), asked.rows)
        files = sorted(map(str, Path(folder).glob("*.parquet")))
        size = sum(Path(file).stat().st_size for file in files)
        print(f"{asked.rows:,} rows x {COLUMNS} columns, {size / 1e9:.2f} GB of Parquet", flush=True)
        whole = measured(files, "stream", 1)
        first = files[: max(COMPARED // FILE, 1)]
        streamed, memory = (measured(first, where, EPOCHS) for where in ("stream", "memory"))
    off = abs(streamed["loss"] / memory["loss"] - 1)
    counted = whole["once"] == whole["rows"] == asked.rows and streamed["once"] == streamed["rows"]
    good = counted and whole["peak"] <= asked.memory and off <= TOLERANCE
    print(
        f"survey       {whole['survey']:.1f} s, {whole['rows'] / whole['survey']:,.0f} rows/s\n"
        f"training     {whole['seconds']:.1f} s, {whole['rows'] / whole['seconds']:,.0f} rows/s, loss "
        f"{whole['loss']:.4f}\n"
        f"memory       {whole['peak'] / 1e9:.2f} GB anonymous at most, of which pools "
        f"{whole['stated'] / 1e9:.2f} GB; allowed {asked.memory / 1e9:.2f} GB\n"
        f"rows         {whole['once']:,} of {whole['rows']:,} used exactly once\n"
        f"first rows   {streamed['rows']:,} in {EPOCHS} epochs: loss {streamed['loss']:.4f} from a stream, "
        f"{memory['loss']:.4f} from memory, "
        f"{off:.2%} apart; memory {memory['peak'] / 1e9:.2f} GB\n"
        f"{'passed' if good else 'FAILED'}"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
