"""Folders of pictures as one array, their classes as the names of the folders that they lie in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import DataError, MissingExtraError
from chainrule.png import read_png

__all__ = ["Images", "read_images"]

Array = np.ndarray[Any, Any]

_OTHERS = (".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


class Images(NamedTuple):
    """x        uint8 (n, height, width, channels), which a network of images takes as it is
    labels   (n,) names of folders; "" for pictures that lie in the folder itself
    paths    where each was read, in the same order
    """

    x: Array
    labels: Array
    paths: tuple[Path, ...]


def read_images(folder: str | os.PathLike[str], *, channels: int | None = None) -> Images:
    """All pictures of a folder and of the folders in it, each of those one class, in the order of names.

    channels    1 (grey, by ITU-R BT.601) or 3 (RGB); None: 1 where all pictures are grey, else 3. What is
                transparent becomes white

    PNG is read by chainrule itself; JPEG, BMP, GIF, WebP and TIFF by Pillow, where that is installed
    (MissingExtraError). Other files are passed over. DataError where there is no picture, one that cannot be
    read, or one of another size than the first.

    >>> import tempfile
    >>> from chainrule.png import write_png
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat", "dog"):
    ...         Path(folder, name).mkdir()
    ...         write_png(Path(folder, name, "1.png"), np.zeros((8, 6), np.uint8))
    ...     found = read_images(folder)
    >>> found.x.shape, found.labels.tolist()
    ((2, 8, 6, 1), ['cat', 'dog'])
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(
            f"{root} is no folder; give one with pictures, or with a folder of them for each class"
        )
    if channels not in (None, 1, 3):
        raise DataError(f"channels is {channels!r}; give 1 (grey), 3 (RGB) or None")
    inside = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = [(path, "") for path in _pictures(root)]
    found += [(path, below.name) for below in inside for path in _pictures(below)]
    if not found:
        raise DataError(
            f"{root} holds no picture ({', '.join(('.png', *_OTHERS))}), nor do the folders in it"
        )
    pictures = [_opaque(_read(path)) for path, _ in found]
    if odd := [i for i, picture in enumerate(pictures) if picture.shape[:2] != pictures[0].shape[:2]]:
        (h, w), (height, width) = pictures[odd[0]].shape[:2], pictures[0].shape[:2]
        raise DataError(
            f"{found[odd[0]][0]} is {w} × {h} pixels, {found[0][0].name} {width} × {height} ({len(odd)} of "
            f"{len(pictures)} differ); scale all pictures to one size first"
        )
    wanted = channels or max(picture.shape[2] for picture in pictures)
    x = np.empty((len(pictures), *pictures[0].shape[:2], wanted), np.uint8)
    for place, picture in zip(x, pictures, strict=True):
        place[:] = picture if picture.shape[2] <= wanted else np.rint(picture @ _GREY)[..., None]
    return Images(x, np.array([label for _, label in found]), tuple(path for path, _ in found))


def _pictures(folder: Path) -> list[Path]:
    known = (".png", *_OTHERS)
    return sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in known)


def _read(path: Path) -> Array:
    """uint8 (height, width) or (height, width, 2 | 3 | 4)."""
    if path.suffix.lower() == ".png":
        return read_png(path)
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError(
            f"{path}: a picture that is no PNG needs Pillow: pip install pillow, or convert it to PNG"
        ) from None
    try:
        with Image.open(path) as opened:
            grey = opened.mode in ("1", "L")
            clear = "A" in opened.getbands() or "transparency" in opened.info
            return np.asarray(opened.convert("L" if grey else "RGBA" if clear else "RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: {error}; it is no whole picture, or no picture at all") from None


def _opaque(picture: Array) -> Array:
    """(height, width, 1 | 3), laid over white."""
    if picture.ndim == 2:
        return picture[..., None]
    if picture.shape[2] == 3:
        return picture
    colours, alpha = picture[..., :-1].astype(np.float64), picture[..., -1:] / 255
    return np.rint(255 + (colours - 255) * alpha).astype(np.uint8)
