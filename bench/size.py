"""What an installation downloads: ``python -m bench.size``, at the versions of constraints.txt.

``--lock`` writes constraints.txt anew, from the newest versions that pip finds. Exit code 1: too much.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "constraints.txt"
MOST = {"": 80.0, "[sklearn]": 130.0}  # extras → 10⁶ bytes of all wheels, ours among them
LOCKED = "[sklearn,tables,onnx]"
HEAD = """\
# The versions that chainrule was last tried with: pip install -c constraints.txt '.[sklearn]'
# Written by: python -m bench.size --lock
"""


def wheels(extras: str, folder: Path, *options: str) -> list[Path]:
    """Everything that pip would install into an empty environment; ours is built."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    asked = ["-q", "--only-binary=:all:", *options, "--dest", str(folder)]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)], check=True)
    ours = next(folder.glob("chainrule-*.whl"))
    subprocess.run([*pip, "download", *asked, f"{ours}{extras}"], check=True)
    return sorted(folder.glob("*.whl"))


def pinned(files: list[Path]) -> list[str]:
    """name==version of each wheel but ours (PEP 427: name-version-…).

    >>> pinned([Path("click-8.5.1-py3-none-any.whl"), Path("chainrule-0.1-py3-none-any.whl")])
    ['click==8.5.1']
    """
    pairs = [file.name.split("-")[:2] for file in files]
    return sorted(
        f"{name.lower().replace('_', '-')}=={version}" for name, version in pairs if name != "chainrule"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.size", description=__doc__)
    parser.add_argument("--lock", action="store_true", help="write constraints.txt anew")
    too_much = 0
    if parser.parse_args().lock:
        with tempfile.TemporaryDirectory() as folder:
            lines = pinned(wheels(LOCKED, Path(folder)))
        LOCK.write_text(HEAD + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    for extras, most in MOST.items():
        with tempfile.TemporaryDirectory() as folder:
            sizes = {f: f.stat().st_size / 1e6 for f in wheels(extras, Path(folder), "-c", str(LOCK))}
        total = sum(sizes.values())
        too_much += total > most
        print(f"chainrule{extras}: {total:.1f} MB in {len(sizes)} wheels, at most {most:.0f}")
        for file, size in sorted(sizes.items(), key=lambda item: -item[1]):
            name, version = file.name.split("-")[:2]
            print(f"  {size:7.2f}  {name} {version}")
    return int(too_much > 0)


if __name__ == "__main__":
    raise SystemExit(main())
