"""Builder: LLVM IR text, one instruction at a time, with typed values."""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

__all__ = [
    "DOUBLE",
    "FLOAT",
    "I1",
    "I8",
    "I32",
    "I64",
    "PTR",
    "Builder",
    "Loop",
    "Type",
    "Value",
    "const",
    "first_lanes",
    "lane_numbers",
    "vector",
]


@dataclass(frozen=True, eq=False, slots=True)
class Type:
    """A scalar, or a vector of so many lanes. Each exists once, so that types compare by identity."""

    scalar: str
    lanes: int  # 0: a scalar
    text: str
    suffix: str  # in the names of intrinsics: "v16f32"

    def __str__(self) -> str:
        return self.text

    @property
    def floating(self) -> bool:
        return self.scalar in ("float", "double")

    @property
    def bits(self) -> int:
        """Of one lane."""
        return _BITS[self.scalar]

    def of(self, scalar: str) -> Type:
        """The same number of lanes of another scalar."""
        return vector(scalar, self.lanes)

    @property
    def element(self) -> Type:
        return vector(self.scalar, 0)


_BITS = {"i1": 1, "i8": 8, "i32": 32, "i64": 64, "float": 32, "double": 64, "ptr": 64, "void": 0}
_SUFFIX = {"float": "f32", "double": "f64", "ptr": "p0"}


@functools.cache
def vector(scalar: str, lanes: int) -> Type:
    """``<lanes x scalar>``; 0 lanes are the scalar itself.

    >>> print(vector("float", 16), vector("i64", 0))
    <16 x float> i64
    """
    short = _SUFFIX.get(scalar, scalar)
    if not lanes:
        return Type(scalar, 0, scalar, short)
    return Type(scalar, lanes, f"<{lanes} x {scalar}>", f"v{lanes}{short}")


FLOAT, DOUBLE, PTR = vector("float", 0), vector("double", 0), vector("ptr", 0)
I1, I8, I32, I64 = vector("i1", 0), vector("i8", 0), vector("i32", 0), vector("i64", 0)


class Value:
    """An operand: its text and its type. ``literal`` is the number where it is a constant."""

    __slots__ = ("literal", "text", "type")

    def __init__(self, text: str, type: Type, literal: float | int | None = None) -> None:
        self.text, self.type, self.literal = text, type, literal

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"{self.type} {self.text}"


def const(value: float, type: Type) -> Value:
    """A number, in every lane. Floats are rounded to the type.

    >>> print(const(1.5, vector("float", 4)))
    splat (float 0x3FF8000000000000)
    """
    negative_zero = value == 0 and math.copysign(1, value) < 0  # which equals 0, so a cache takes it for 0
    return _const.__wrapped__(value, type) if negative_zero else _const(value, type)


@functools.lru_cache(maxsize=16384)
def _const(value: float, type: Type) -> Value:
    rounded: float | int
    if type.floating:
        with np.errstate(over="ignore"):
            rounded = float(np.float32(value)) if type.scalar == "float" else float(value)
        inner = "0x" + struct.pack(">d", rounded).hex().upper()
    else:
        rounded = int(value)
        inner = ("true" if rounded else "false") if type.scalar == "i1" else str(rounded)
    return Value(f"splat ({type.scalar} {inner})" if type.lanes else inner, type, rounded)


class Builder:
    """The body of one function. Methods append an instruction and return its value.

    ``declared`` collects the intrinsics and functions that the body calls, as declarations.

    >>> b = Builder()
    >>> x = Value("%x", vector("float", 4))
    >>> y = b.fadd(b.fmul(x, x), const(1.0, x.type))
    >>> print("\\n".join(b.lines))
      %v1 = fmul <4 x float> %x, %x
      %v2 = fadd <4 x float> %v1, splat (float 0x3FF0000000000000)
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.locals: list[str] = []  # memory of a call, asked for anywhere, taken in the first block
        self.declared: set[str] = set()
        self.block = "entry"  # the label of the block that is being filled
        self._count = 0

    # ------------------------------------------------------------------ names, blocks

    def _name(self) -> str:
        self._count += 1
        return f"%v{self._count}"

    def value(self, text: str, type: Type) -> Value:
        """``%vN = text``"""
        self._count += 1
        name = f"%v{self._count}"
        self.lines.append(f"  {name} = {text}")
        return Value(name, type)

    def do(self, text: str) -> None:
        """An instruction without a value."""
        self.lines.append("  " + text)

    def label(self, hint: str) -> str:
        self._count += 1
        return f"{hint}{self._count}"

    def start(self, label: str) -> None:
        """Begin a block; the one before must have ended in a branch."""
        self.lines.append(f"{label}:")
        self.block = label

    def jump(self, label: str) -> None:
        self.do(f"br label %{label}")

    def branch(self, condition: Value, then: str, otherwise: str) -> None:
        self.do(f"br i1 {condition}, label %{then}, label %{otherwise}")

    # ------------------------------------------------------------------ arithmetic

    def _binary(self, operation: str, a: Value, b: Value) -> Value:
        return self.value(f"{operation} {a.type.text} {a.text}, {b.text}", a.type)

    def fadd(self, a: Value, b: Value) -> Value:
        return self._binary("fadd", a, b)

    def fsub(self, a: Value, b: Value) -> Value:
        return self._binary("fsub", a, b)

    def fmul(self, a: Value, b: Value) -> Value:
        return self._binary("fmul", a, b)

    def fdiv(self, a: Value, b: Value) -> Value:
        return self._binary("fdiv", a, b)

    def fneg(self, a: Value) -> Value:
        return self.value(f"fneg {a.type.text} {a.text}", a.type)

    def add(self, a: Value, b: Value) -> Value:
        return self._binary("add", a, b)

    def sub(self, a: Value, b: Value) -> Value:
        return self._binary("sub", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        return self._binary("mul", a, b)

    def sdiv(self, a: Value, b: Value) -> Value:
        return self._binary("sdiv", a, b)

    def udiv(self, a: Value, b: Value) -> Value:
        return self._binary("udiv", a, b)

    def urem(self, a: Value, b: Value) -> Value:
        return self._binary("urem", a, b)

    def shl(self, a: Value, b: Value) -> Value:
        return self._binary("shl", a, b)

    def lshr(self, a: Value, b: Value) -> Value:
        return self._binary("lshr", a, b)

    def ashr(self, a: Value, b: Value) -> Value:
        return self._binary("ashr", a, b)

    def and_(self, a: Value, b: Value) -> Value:
        return self._binary("and", a, b)

    def or_(self, a: Value, b: Value) -> Value:
        return self._binary("or", a, b)

    def xor(self, a: Value, b: Value) -> Value:
        return self._binary("xor", a, b)

    def not_(self, a: Value) -> Value:
        return self.xor(a, const(1 if a.type.scalar == "i1" else -1, a.type))

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a·b + c, in one rounding where the machine has it."""
        return self.intrinsic("fmuladd", a, b, c)

    def sqrt(self, a: Value) -> Value:
        return self.intrinsic("sqrt", a)

    def fabs(self, a: Value) -> Value:
        return self.intrinsic("fabs", a)

    def intrinsic(self, name: str, *operands: Value) -> Value:
        """An LLVM intrinsic whose operands and result are of one type."""
        type = operands[0].type
        return self.call(f"llvm.{name}.{type.suffix}", type, *operands)

    def call(self, function: str, returns: Type, *operands: Value) -> Value:
        """A call to a function that must be declared: an intrinsic or one from outside."""
        types = ", ".join([x.type.text for x in operands])
        self.declared.add(f"declare {returns.text} @{function}({types})")
        arguments = ", ".join([f"{x.type.text} {x.text}" for x in operands])
        text = f"call {returns.text} @{function}({arguments})"
        if returns.scalar == "void":
            self.do(text)
            return Value("", returns)
        return self.value(text, returns)

    # ------------------------------------------------------------------ comparison, choice

    def fcmp(self, predicate: str, a: Value, b: Value) -> Value:
        return self.value(f"fcmp {predicate} {a.type.text} {a.text}, {b.text}", a.type.of("i1"))

    def icmp(self, predicate: str, a: Value, b: Value) -> Value:
        return self.value(f"icmp {predicate} {a.type.text} {a.text}, {b.text}", a.type.of("i1"))

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        return self.value(
            f"select {condition.type.text} {condition.text}, {a.type.text} {a.text}, {b.type.text} {b.text}",
            a.type,
        )

    # ------------------------------------------------------------------ conversion

    def convert(self, operation: str, a: Value, type: Type) -> Value:
        """bitcast, trunc, zext, sext, fptrunc, fpext, fptosi, sitofp, uitofp"""
        return self.value(f"{operation} {a.type.text} {a.text} to {type.text}", type)

    def bitcast(self, a: Value, type: Type) -> Value:
        return self.convert("bitcast", a, type)

    # ------------------------------------------------------------------ lanes

    def splat(self, a: Value, lanes: int) -> Value:
        """A scalar in every lane."""
        type = vector(a.type.scalar, lanes)
        if not lanes or a.type.lanes:
            return a
        if a.literal is not None:
            return const(a.literal, type)
        one = self.value(f"insertelement {type.text} poison, {a.type.text} {a.text}, i32 0", type)
        return self.value(
            f"shufflevector {type.text} {one.text}, {type.text} poison, <{lanes} x i32> zeroinitializer", type
        )

    def extract(self, a: Value, lane: Value | int) -> Value:
        place = f"i64 {lane.text}" if isinstance(lane, Value) else f"i32 {lane}"
        return self.value(f"extractelement {a.type.text} {a.text}, {place}", a.type.element)

    def insert(self, a: Value, x: Value, lane: int) -> Value:
        return self.value(f"insertelement {a.type.text} {a.text}, {x.type.text} {x.text}, i32 {lane}", a.type)

    def shuffle(self, a: Value, b: Value, lanes: Sequence[int]) -> Value:
        mask = ", ".join([f"i32 {i}" for i in lanes])
        type = vector(a.type.scalar, len(lanes))
        return self.value(
            f"shufflevector {a.type.text} {a.text}, {b.type.text} {b.text}, <{len(lanes)} x i32> <{mask}>",
            type,
        )

    def fold(self, operation: Callable[[Value, Value], Value], a: Value) -> Value:
        """All lanes into one by halves: a fixed order."""
        lanes = a.type.lanes
        while lanes > 1:
            lanes //= 2
            low = self.shuffle(a, a, range(lanes))
            high = self.shuffle(a, a, range(lanes, 2 * lanes))
            a = operation(low, high)
        return self.extract(a, 0)

    # ------------------------------------------------------------------ memory

    def at(self, base: Value, index: Value | int, type: Type) -> Value:
        """The address of element ``index`` of an array of scalars of ``type``."""
        if isinstance(index, int):
            if not index:
                return base
            index = const(index, I64)
        elif index.literal == 0:
            return base
        scalar = "i8" if type.scalar == "i1" else type.scalar
        return self.value(f"getelementptr {scalar}, ptr {base.text}, i64 {index.text}", PTR)

    def load(self, address: Value, type: Type, align: int | None = None) -> Value:
        """A scalar or consecutive lanes; without ``align`` only the element's own alignment is assumed.
        Booleans lie in bytes."""
        if type.scalar == "i1":
            return self.icmp("ne", self.load(address, type.of("i8"), align), const(0, type.of("i8")))
        place = f", align {align or type.bits // 8}"
        return self.value(f"load {type.text}, ptr {address.text}{place}", type)

    def store(self, a: Value, address: Value, align: int | None = None) -> None:
        if a.type.scalar == "i1":
            self.store(self.convert("zext", a, a.type.of("i8")), address, align)
            return
        self.do(f"store {a.type.text} {a.text}, ptr {address.text}, align {align or a.type.bits // 8}")

    def load_masked(self, address: Value, mask: Value, type: Type) -> Value:
        """Consecutive lanes where the mask is set, 0 elsewhere; the others are not touched."""
        held = type.of("i8") if type.scalar == "i1" else type
        name = f"llvm.masked.load.{held.suffix}.p0"
        self.declared.add(f"declare {held} @{name}(ptr, i32, {mask.type}, {held})")
        place = f"ptr {address}, i32 {held.bits // 8}, {mask.type} {mask}"
        found = self.value(f"call {held} @{name}({place}, {held} zeroinitializer)", held)
        return self.icmp("ne", found, const(0, held)) if held is not type else found

    def store_masked(self, a: Value, address: Value, mask: Value) -> None:
        """Consecutive lanes where the mask is set; the others are not touched."""
        if a.type.scalar == "i1":
            a = self.convert("zext", a, a.type.of("i8"))
        name = f"llvm.masked.store.{a.type.suffix}.p0"
        self.declared.add(f"declare void @{name}({a.type}, ptr, i32, {mask.type})")
        self.do(f"call void @{name}({a.type} {a}, ptr {address}, i32 {a.type.bits // 8}, {mask.type} {mask})")

    def gather(self, base: Value, offsets: Value, mask: Value | None, type: Type) -> Value:
        """Lanes from base + offsets (in elements) where the mask is set, 0 elsewhere."""
        held = type.of("i8") if type.scalar == "i1" else type
        pointers = self._lanes_at(base, offsets, held)
        mask = mask or const(1, type.of("i1"))
        name = f"llvm.masked.gather.{held.suffix}.{pointers.type.suffix}"
        self.declared.add(f"declare {held} @{name}({pointers.type}, i32, {mask.type}, {held})")
        place = f"{pointers.type} {pointers}, i32 {held.bits // 8}, {mask.type} {mask}"
        found = self.value(f"call {held} @{name}({place}, {held} zeroinitializer)", held)
        return self.icmp("ne", found, const(0, held)) if held is not type else found

    def scatter(self, a: Value, base: Value, offsets: Value, mask: Value | None) -> None:
        """Lanes to base + offsets (in elements) where the mask is set."""
        if a.type.scalar == "i1":
            a = self.convert("zext", a, a.type.of("i8"))
        pointers = self._lanes_at(base, offsets, a.type)
        mask = mask or const(1, a.type.of("i1"))
        name = f"llvm.masked.scatter.{a.type.suffix}.{pointers.type.suffix}"
        self.declared.add(f"declare void @{name}({a.type}, {pointers.type}, i32, {mask.type})")
        place = f"{pointers.type} {pointers}, i32 {a.type.bits // 8}, {mask.type} {mask}"
        self.do(f"call void @{name}({a.type} {a}, {place})")

    def _lanes_at(self, base: Value, offsets: Value, type: Type) -> Value:
        text = f"getelementptr {type.scalar}, ptr {base.text}, {offsets.type} {offsets.text}"
        return self.value(text, vector("ptr", offsets.type.lanes))

    def prefetch(self, address: Value, write: bool) -> None:
        self.declared.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        self.do(f"call void @llvm.prefetch.p0(ptr {address.text}, i32 {int(write)}, i32 3, i32 1)")

    def local(self, type: Type, count: int = 1, align: int = 64) -> Value:
        """Memory of this call; to be asked for in the first block."""
        return self.value(f"alloca {type.text}, i64 {count}, align {align}", PTR)

    def local_at_entry(self, type: Type, count: int = 1, align: int = 64) -> Value:
        """Memory of this call, taken where the function begins."""
        name = self._name()
        self.locals.append(f"  {name} = alloca {type.text}, i64 {count}, align {align}")
        return Value(name, PTR)

    # ------------------------------------------------------------------ control

    @contextmanager
    def loop(
        self, low: Value | int, high: Value | int, step: int = 1, carried: Sequence[Value] = ()
    ) -> Iterator[Loop]:
        """``for i in range(low, high, step)``; ``carried`` values go from turn to turn.

        Inside, ``loop.i`` is the counter and ``loop.carried`` what this turn begins with; assign
        ``loop.carried`` to hand values to the next turn. Afterwards it holds the last ones.
        """
        first, last = (const(x, I64) if isinstance(x, int) else x for x in (low, high))
        head, body, exit = self.label("head"), self.label("body"), self.label("exit")
        before = self.block
        self.jump(head)
        self.start(head)
        place = len(self.lines)
        phis = [Value(self._name(), I64), *(Value(self._name(), c.type) for c in carried)]
        more = self.icmp("slt", phis[0], last)
        self.branch(more, body, exit)
        self.start(body)
        found = Loop(phis[0], list(phis[1:]))
        yield found
        following = [self.add(phis[0], const(step, I64)), *found.carried]
        self.lines[place:place] = [
            f"  {phi} = phi {phi.type} [ {start}, %{before} ], [ {after}, %{self.block} ]"
            for phi, start, after in zip(phis, [first, *carried], following, strict=True)
        ]
        self.jump(head)
        self.start(exit)
        found.carried = list(phis[1:])

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """What is emitted inside runs only if the condition holds."""
        then, after = self.label("then"), self.label("after")
        self.branch(condition, then, after)
        self.start(then)
        yield
        self.jump(after)
        self.start(after)


class Loop:
    """A loop that is being emitted."""

    __slots__ = ("carried", "i")

    def __init__(self, i: Value, carried: list[Value]) -> None:
        self.i, self.carried = i, carried


def lane_numbers(type: Type, step: int = 1) -> Value:
    """0, step, 2·step … in the lanes of an integer type.

    >>> print(lane_numbers(vector("i32", 4), 3))
    <i32 0, i32 3, i32 6, i32 9>
    """
    return Value("<" + ", ".join([f"{type.scalar} {step * i}" for i in range(type.lanes)]) + ">", type)


def first_lanes(count: int, lanes: int) -> Value:
    """A mask of the first lanes.

    >>> print(first_lanes(2, 4))
    <i1 true, i1 true, i1 false, i1 false>
    """
    bits = ", ".join(["i1 true" if i < count else "i1 false" for i in range(lanes)])
    return Value(f"<{bits}>", vector("i1", lanes))
