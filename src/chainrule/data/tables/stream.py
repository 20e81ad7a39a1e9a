"""Stream: what a network takes, block by block, every row once an epoch, in an order drawn anew for each."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chainrule.data.ahead import ahead
from chainrule.data.arrays import check_weights
from chainrule.data.batches import permutation, plan
from chainrule.data.streaming import Block, Buffers, RowStream
from chainrule.data.tables.choose import choose_encoders
from chainrule.data.tables.moments import Moments, row_keys
from chainrule.data.tables.pool import Pool
from chainrule.data.tables.profile import ColumnProfile, Profile
from chainrule.data.tables.sources import Source, open_source
from chainrule.data.tables.table import Array, Table, concatenate
from chainrule.data.tables.table_encoder import TableEncoder, conform
from chainrule.data.tables.targets import Classes, Scaled, choose_target
from chainrule.errors import ConfigError, DataError, within
from chainrule.spec import Spec, as_dtype

__all__ = ["Stream", "stream_table"]

_POOL_BYTES = 1 << 27  # of a pool in which rows are mixed
_BLOCK_BYTES = 1 << 24  # of one that keeps their order
_LEAST_POOL = 1 << 13
_MIXED = 4  # parts that are read in turns
_MOST = float(np.finfo(np.float32).max)
_HELD = 1 << 32  # of which a share is held out


@dataclass(frozen=True, eq=False, repr=False)
class Stream(RowStream):
    """Encoded rows of a source, block by block.

    Parts of the source come in random order, four of them in turns; rows go into a pool of ``pool`` rows, and
    whenever it is full its rows are drawn in random order, without replacement. What does not fill a batch
    stays for the next pool, so that each row is used once an epoch and only the last batch is smaller. Order
    and blocks follow from seed and epoch alone.

    Memory: the pool, twice with ``ahead`` (``nbytes``), and while reading 16,384 rows of each of four parts.

    rows      of this stream, without those that another side of a split holds
    ahead     a thread reads the next block while this one is worked on
    merge_single
              a last row alone goes into the batch before it: for networks with batch statistics
    held      (share, inside): rows whose key falls below the share are held out; see ``split``
    """

    source: Source
    encoder: TableEncoder
    state: Mapping[str, Array]
    target: Classes | Scaled
    target_name: str
    target_state: Mapping[str, Array]
    rows: int
    batch_size: int = 32
    pool: int = 0
    seed: int = 0
    weight: str | None = None
    shuffle: bool = True
    ahead: bool = False
    merge_single: bool = False
    held: tuple[float, bool] | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        within(self, "batch_size", "[1, inf)", whole=True)
        within(self, "pool", "[0, inf)", whole=True)

    def __repr__(self) -> str:
        what = f"{self.rows:,} rows: {len(self.encoder.columns)} columns → {self.target_name!r}"
        return f"<Stream of {what}, batches of {self.batch_size}>"

    @property
    def row_bytes(self) -> int:
        """Of one encoded row: inputs, target, weight, its number."""
        return 4 * self.encoder.width + 4 * len(self.encoder.code_names) + 8 + 4 + 8

    @property
    def pool_rows(self) -> int:
        """Rows of the pool: as given, else those that fit into 128 MiB (without shuffling 16); at least a
        batch."""
        fitting = (_POOL_BYTES if self.shuffle else _BLOCK_BYTES) // self.row_bytes
        wanted = self.pool or max(_LEAST_POOL, fitting)
        return max(self.batch_size * (1 + self.merge_single), min(wanted, self.rows))

    @property
    def nbytes(self) -> int:
        """Of the pool, or of both."""
        return self.pool_rows * self.row_bytes * (1 + self.ahead)

    @property
    def steps(self) -> int:
        """Of an epoch, the smaller last one too."""
        full, tail = plan(self.rows, self.batch_size, self.merge_single)
        return full + (tail > 0)

    @property
    def fingerprint(self) -> str:
        """Tells whether a run is resumed on its own data: of the source, of what decides the order, of what
        the columns become."""
        decides = (self.rows, self.batch_size, self.pool_rows, self.seed, self.shuffle, self.held)
        learned = {**self.state, **self.target_state}
        asked = self.target_name, self.weight, sorted(self.kinds.items())
        described = repr((self.encoder, self.target, asked))
        crc = zlib.crc32(described.encode("utf-8", "surrogatepass"))
        for name in sorted(learned):
            crc = zlib.crc32(learned[name].tobytes(), crc)
        return f"{self.source.fingerprint()} {decides} {crc:08x}"

    @property
    def inputs(self) -> dict[str, Spec]:
        """One row of "x" and of "codes", where there are any."""
        widths = {"x": (self.encoder.width, "float32"), "codes": (len(self.encoder.code_names), "int32")}
        return {name: Spec((n,), as_dtype(dtype)) for name, (n, dtype) in widths.items() if n}

    @property
    def examples(self) -> dict[str, Array]:
        """ "y": one of each class, or the mean."""
        if isinstance(self.target, Classes):
            return {"y": np.arange(len(self.target))}
        return {"y": np.zeros((1, 1), np.float32)}

    @property
    def weighted(self) -> bool:
        return self.weight is not None

    def for_batch_statistics(self) -> Stream:
        return replace(self, merge_single=True)

    def split(self, share: float) -> tuple[Stream, Stream]:
        """(training, held out): about a share of the rows is held out, chosen by the place of each row and
        the seed; the same ones in every epoch. To count both, the data are read once."""
        if self.held is not None:
            raise ConfigError("this stream is one side of a split; split the stream that it came from")
        if not 0 < share < 1:
            raise ConfigError(
                f"the share held out lies between 0 and 1, such as 0.1 for a tenth; got {share!r}"
            )
        out = sum(int(self._is_held(first, len(t), share).sum()) for first, t in self._pieces(None))
        if not 0 < out < self.rows:
            raise DataError(f"{out} of {self.rows} rows would be held out; give another share, or more rows")
        train = replace(self, held=(share, False), rows=self.rows - out)
        return train, replace(self, held=(share, True), rows=out, shuffle=False)

    def table(self, share: float = 1.0) -> Table:
        """The rows of this stream as a table in memory, in their order; or about a share of them, chosen by
        their places and the seed."""
        parts = []
        for first, rows in self._pieces(None):
            taken = np.ones(len(rows), bool)
            if self.held is not None:
                taken = self._is_held(first, len(rows), self.held[0]) == self.held[1]
            if share < 1:
                drawn = (row_keys(first, len(rows)) ^ row_keys(self.seed, 1)) & np.uint64(_HELD - 1)
                taken &= drawn < np.uint64(round(share * _HELD))  # bits that no split looks at
            parts += [rows.take(taken)] if taken.any() else []
        if not parts:
            raise DataError(f"a share of {share:g} of {self.rows} rows holds none; take a larger one")
        return concatenate(parts)

    def epoch(self, number: int, buffers: Buffers | None = None) -> Iterator[Block]:
        """The blocks of an epoch. DataError for what the survey did not meet: the data changed since."""
        found = buffers if buffers is not None else []
        found += [{} for _ in range(1 + self.ahead - len(found))]
        blocks = self._blocks(number, found)
        return ahead(blocks) if self.ahead else blocks

    def _blocks(self, number: int, buffers: Buffers) -> Iterator[Block]:
        pool = Pool(self.pool_rows, self.batch_size, buffers, merge_single=self.merge_single)
        count = 0
        for inputs, targets, weight in self._encoded(number):
            start, count = 0, count + len(weight)
            if count > self.rows:
                break
            while start < len(weight):
                if pool.full:
                    yield pool.block(self._order(pool, number), last=False)
                    pool.keep_rest()
                start = pool.add(inputs, targets, weight, start)
        if count != self.rows:
            raise DataError(
                f"the data has {'more' if count > self.rows else 'less'} than the {self.rows} rows that were "
                "there when the stream was made; they changed since: make the stream anew"
            )
        if pool.filled:
            yield pool.block(self._order(pool, number), last=True)

    def _order(self, pool: Pool, number: int) -> Array:
        pool.blocks += 1
        if not self.shuffle:
            return np.arange(pool.filled)
        return permutation(pool.filled, self.seed, number, f"stream/{pool.blocks}")

    def _encoded(self, number: int) -> Iterator[tuple[dict[str, Array], Array, Array]]:
        for place, table in self._pieces(number if self.shuffle else None):
            if self.held is not None:
                share, inside = self.held
                held = self._is_held(place, len(table), share)
                table = table.take(held if inside else ~held)
            if len(table):
                yield self._encode(table)

    def _encode(self, table: Table) -> tuple[dict[str, Array], Array, Array]:
        inputs = self.encoder.encode(table, self.state)
        y = table.select([self.target_name])  # as a table, which has been checked
        if isinstance(self.target, Classes):
            targets = self.target.encode(y, self.target_name)
        else:
            targets = self.target.encode(y, self.target_state, self.target_name).astype(np.float32)[:, None]
        weight = np.ones(len(table), np.float32)
        if self.weight is not None:
            weight = _weights(table[self.weight])
        return inputs, targets, weight

    def _pieces(self, number: int | None) -> Iterator[tuple[int, Table]]:
        """All pieces; in the source's order, or of four parts in turns, which are drawn anew each epoch."""
        parts = self.source.parts
        if number is None:
            waiting, at_once = iter(range(parts)), 1
        else:
            order = permutation(parts, self.seed, number, "stream/parts").tolist()
            waiting, at_once = iter(order), _MIXED
        open_parts: list[Iterator[tuple[int, Table]]] = []
        while True:
            while len(open_parts) < at_once and (part := next(waiting, None)) is not None:
                open_parts.append(self.source.read(part))
            if not open_parts:
                return
            for part_pieces in list(open_parts):
                piece = next(part_pieces, None)
                if piece is None:
                    open_parts.remove(part_pieces)
                else:
                    yield piece[0], conform(piece[1], self.kinds)

    def _is_held(self, first: int, count: int, share: float) -> Array:
        keys = row_keys(first, count) ^ row_keys(self.seed, 1)
        return (keys >> np.uint64(32)) < np.uint64(round(share * _HELD))


def _weights(column: Array) -> Array:
    if (column == 0).all():
        return np.zeros(len(column), np.float32)
    return check_weights(column, rows=len(column), dtype="float32")


# ------------------------------------------------------------------ from data to a stream


def stream_table(
    data: Any,
    target: str,
    *,
    task: str = "auto",
    kinds: Mapping[str, str] | None = None,
    scaling: str = "standard",
    embed_from: int | None = 64,
    weight: str | None = None,
    batch_size: int = 32,
    pool: int = 0,
    ahead: bool = True,
    seed: int = 0,
    shuffle: bool = True,
    columns: Any = None,
    **options: Any,
) -> Stream:
    """A stream of rows that need not fit into memory; the data are surveyed in one pass.

    data      a source, or what open_source takes: a CSV file, Parquet files, a dict of memory-mapped arrays
    target    the column that is to be predicted; classes or numbers as for choose_target
    weight    a column of weights
    pool      rows in memory among which is shuffled; by default as many as fit into 128 MiB
    ahead     a thread reads the next block while one is worked on; the pool is there twice, else once
    shuffle   False keeps the order of the data

    >>> x = np.arange(100.0)
    >>> stream = stream_table({"x": x, "y": x % 2 > 0}, "y", batch_size=30)
    >>> [(block.index.shape, block.tail.shape) for block in stream.epoch(0)]
    [((3, 30), (1, 10))]
    """
    source = open_source(data, columns, **options)
    source.check_columns([target, *([weight] if weight else [])])
    asked = dict(kinds or {})
    profile = source.survey(asked, weight)
    taken = {target, weight}
    features = {name: column for name, column in profile.columns.items() if name not in taken}
    if not features:
        raise DataError(f"beside {target!r} there is no column to learn from; give one")
    known = Profile(features, profile.rows, profile.sample, profile.described)
    said = {name: kind for name, kind in asked.items() if name not in taken}
    encoder = choose_encoders(known, kinds=said, scaling=scaling, embed_from=embed_from)
    found, learned = _target(profile[target], task)
    state = encoder.fit(known)
    return Stream(
        source, encoder, state, found, target, learned, profile.described,
        batch_size=batch_size, pool=pool, seed=seed, weight=weight, shuffle=shuffle, ahead=ahead, kinds=asked,
    )  # fmt: skip


def _target(column: ColumnProfile, task: str) -> tuple[Classes | Scaled, dict[str, Array]]:
    """From what the survey counted."""
    if column.missing:
        raise DataError(
            f"{column.name!r} has no value in {column.missing} rows; a label is never guessed: drop them"
        )
    counts = column.counts
    sample = None if counts is None else _labels(column, counts)
    if sample is None:
        if task == "classification":
            raise DataError(
                f"{column.name!r} holds {column.distinct} different values or more: no classes but quantities"
                "; say task='regression'"
            )
        found: Classes | Scaled = Scaled()
    else:
        found = choose_target(sample, task, column.name)[0]
    if isinstance(found, Scaled) and (most := max(-column.low, column.high)) > _MOST:
        raise DataError(
            f"{column.name!r} reaches {most:.6g}, but float32, in which it is predicted, ends at "
            f"{_MOST:.3g}; give it in another unit"
        )
    return found, {} if isinstance(found, Classes) else _scaled(column.moments)


def _labels(column: ColumnProfile, counts: Mapping[str, int]) -> Array | None:
    """Each label as often as it occurs, up to 100 times: enough to tell classes from quantities."""
    texts = [text for text, n in counts.items() for _ in range(min(n, 100))]
    if column.is_text:
        return np.array([*texts, None], object)[:-1]
    if column.sorts == {"truth"}:
        return np.array([text == "True" for text in texts])
    if column.sorts == {"whole"}:
        return np.array([int(text) for text in texts], np.int64)
    return np.array([float(text) for text in texts])


def _scaled(moments: Moments) -> dict[str, Array]:
    return {"target/mean": np.array(moments.mean), "target/scale": np.array(moments.std or 1.0)}
