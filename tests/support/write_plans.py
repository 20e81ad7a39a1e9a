"""Writes tests/data/plans anew: ``python tests/support/write_plans.py``; then read the difference."""

from __future__ import annotations

from plans import FOLDER, TEXTS


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.txt"):
        old.unlink()
    for name, text in TEXTS.items():
        (FOLDER / f"{name}.txt").write_text(text() + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
