"""Operations: each primitive with its user function, gradient rule, reference and samples side by side."""

from chainrule.graph.expr import OPERATORS, Expr, call, constant, input, item
from chainrule.ops import (
    attending,
    convert,
    convolution,
    elementwise,
    functions,
    index,
    linalg,
    pooling,
    random,
    recurrence,
    reduce,
    shape,
    sliding,
)
from chainrule.ops.attending import *  # noqa: F403  (the room's vocabulary, re-exported by design)
from chainrule.ops.convert import *  # noqa: F403
from chainrule.ops.convolution import *  # noqa: F403
from chainrule.ops.elementwise import *  # noqa: F403
from chainrule.ops.functions import *  # noqa: F403
from chainrule.ops.index import *  # noqa: F403
from chainrule.ops.linalg import *  # noqa: F403
from chainrule.ops.pooling import *  # noqa: F403
from chainrule.ops.random import *  # noqa: F403
from chainrule.ops.recurrence import *  # noqa: F403
from chainrule.ops.reduce import *  # noqa: F403
from chainrule.ops.samples import SAMPLES
from chainrule.ops.shape import *  # noqa: F403
from chainrule.ops.sliding import *  # noqa: F403

__all__ = ["SAMPLES", "Expr", "call", "constant", "input", "item"]
for _room in (
    attending, convert, convolution, elementwise, functions, index, linalg, pooling, random, recurrence,
    reduce, shape, sliding,
):  # fmt: skip
    __all__ += _room.__all__

OPERATORS.update(
    {
        name: globals()[name]
        for name in (
            "abs", "add", "div", "getitem", "less", "less_equal", "logical_and", "logical_not", "logical_or",
            "matmul", "mul", "neg", "pow", "sub", "transpose",
        )
    }
)  # fmt: skip
