"""Say what a file is that is not a model file, and which file may have been meant."""

from __future__ import annotations

import os
import re

from chainrule.errors import ModelFileError

__all__ = ["SNIFF_LENGTH", "missing_file", "not_a_model"]

SNIFF_LENGTH = 64
_MAX_LISTED = 1000

# From protocol 2 on a pickle names its protocol; older ones that matter import or build a container first.
_PICKLE = re.compile(rb"\x80[\x02-\x05]|c[\w.]+\n[\w.]+\n|\([dlti]p?\d*[\n\w]|\(c[\w.]+\n|[}\]]q\x00")
_NO_PICKLE = "a pickle can run any code, so none is ever opened here; have its arrays exported as safetensors"
_EXPORT = "export its arrays as safetensors where it was made"
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive (PyTorch .pt, Keras .keras, NumPy .npz)", _EXPORT),
    (b"PK\x05\x06", "an empty ZIP archive", "look for the right file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras .h5)", _EXPORT),
    (b"\x93NUMPY", "a NumPy .npy array", "np.load reads it"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"BZh", "a bzip2 archive", "unpack it first"),
    (b"\xfd7zXZ\x00", "an xz archive", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstandard archive", "unpack it first"),
    (b"GGUF", "a GGUF model", "it holds no chainrule network"),
    (b"\x89PNG", "a PNG image", "give a model file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run git lfs pull"),
    (b"<", "an HTML or XML page, perhaps a failed download", "download it again"),
    (b"{", "a JSON text", "give a model file"),
)


def not_a_model(start: bytes, shown: str, problem: str) -> ModelFileError:
    """The error for a file whose beginning cannot be a header; ``start`` is its first bytes."""
    if _PICKLE.match(start):
        return ModelFileError(f"{shown}: looks like a Python pickle, not a chainrule model: {_NO_PICKLE}")
    for magic, kind, remedy in _KINDS:
        if start.startswith(magic):
            return ModelFileError(f"{shown}: looks like {kind}, not a chainrule model: {remedy}")
    return ModelFileError(f"{shown}: not a chainrule model, or a damaged one: {problem}")


def missing_file(path: str) -> ModelFileError:
    """The error for a path where nothing is; names the nearest files of its folder."""
    import difflib

    folder, name = os.path.split(path)
    try:
        with os.scandir(folder or ".") as entries:
            present = [entry.name for entry, _ in zip(entries, range(_MAX_LISTED), strict=False)]
    except OSError as error:
        return ModelFileError(f"{path}: no such file: its folder cannot be listed ({error.strerror})")
    near = difflib.get_close_matches(name, present, n=3)
    near = near or sorted(entry for entry in present if entry.endswith(".safetensors"))[:3]
    if not near:
        return ModelFileError(f"{path}: no such file, and no model file beside it: check the path")
    return ModelFileError(f"{path}: no such file: did you mean {' or '.join(map(repr, near))}?")
