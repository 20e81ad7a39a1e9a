"""Layers: frozen dataclasses with one method. A network's step is one of them, or a function of ``ops``."""

from chainrule.nn.activation import Maxout, PReLU
from chainrule.nn.attention import MultiHeadAttention, PositionalEncoding, TransformerBlock
from chainrule.nn.columns import Columns
from chainrule.nn.container import (
    Flatten,
    Parallel,
    Rescale,
    Reshape,
    Residual,
    Sequential,
    Shared,
    parallel,
    sequential,
)
from chainrule.nn.conv import Conv1D, Conv2D, ConvTranspose1D, ConvTranspose2D
from chainrule.nn.dense import Dense, MaskedDense, TiedDense
from chainrule.nn.embedding import Embedding
from chainrule.nn.init import (
    INITS,
    Constant,
    ConstantParts,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Init,
    LeCunNormal,
    Normal,
    Orthogonal,
    Uniform,
    Zeros,
    layer_sequential_unit_variance,
)
from chainrule.nn.latent import GaussianSample
from chainrule.nn.layer import Layer, Step
from chainrule.nn.noise import Dropout, GaussianNoise, HideCells
from chainrule.nn.norm import BatchNorm, LayerNorm
from chainrule.nn.parts import exchanged, part
from chainrule.nn.pool import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from chainrule.nn.recurrent import GRU, LSTM, Bidirectional, Elman
from chainrule.nn.run import Buffer, Parameter, Role, Run, trace
from chainrule.nn.sequence import EncoderDecoder, SequenceStack

__all__ = [
    "GRU",
    "INITS",
    "LAYERS",
    "LSTM",
    "AveragePool",
    "BatchNorm",
    "Bidirectional",
    "Buffer",
    "Columns",
    "Constant",
    "ConstantParts",
    "Conv1D",
    "Conv2D",
    "ConvTranspose1D",
    "ConvTranspose2D",
    "Dense",
    "Dropout",
    "Elman",
    "Embedding",
    "EncoderDecoder",
    "Flatten",
    "GaussianNoise",
    "GaussianSample",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "HideCells",
    "Init",
    "Layer",
    "LayerNorm",
    "LeCunNormal",
    "MaskedDense",
    "MaxPool",
    "Maxout",
    "MultiHeadAttention",
    "Normal",
    "Orthogonal",
    "PReLU",
    "Parallel",
    "Parameter",
    "PositionalEncoding",
    "Rescale",
    "Reshape",
    "Residual",
    "Role",
    "Run",
    "SequenceStack",
    "Sequential",
    "Shared",
    "Step",
    "TiedDense",
    "TransformerBlock",
    "Uniform",
    "Zeros",
    "exchanged",
    "layer_sequential_unit_variance",
    "parallel",
    "part",
    "sequential",
    "trace",
]

LAYERS: dict[str, type[Layer]] = {
    cls.__name__: cls
    for cls in (
        AveragePool, BatchNorm, Bidirectional, Columns, Conv1D, Conv2D, ConvTranspose1D, ConvTranspose2D,
        Dense, Dropout, Elman, Embedding, EncoderDecoder, Flatten, GRU, GaussianNoise, GaussianSample,
        GlobalAveragePool, GlobalMaxPool, HideCells, LSTM, LayerNorm, MaskedDense, MaxPool, Maxout,
        MultiHeadAttention, PReLU, Parallel, PositionalEncoding, Rescale, Reshape, Residual, SequenceStack,
        Sequential, Shared, TiedDense, TransformerBlock,
    )
}  # fmt: skip
"""Every layer by the name under which a model file knows it: the closed table from which files are read."""
