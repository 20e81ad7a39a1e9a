"""The cache of compiled code: what it keeps, what it refuses to believe, and that it never stops anybody."""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

pytest.importorskip("llvmlite")

from chainrule.executors.cpu import cache, native
from chainrule.executors.cpu.cache import ObjectCache
from chainrule.executors.cpu.native import compile_module, counts
from chainrule.executors.cpu.target import host

posix = pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")
CODE = bytes(range(256)) * 10


@pytest.fixture(autouse=True)
def _forgotten_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_warned", set())


@pytest.fixture
def kept(tmp_path: Path) -> ObjectCache:
    return ObjectCache(tmp_path / "home" / "chainrule")


def entry(kept: ObjectCache, key: str) -> Path:
    return kept.folder / f"{key}.object"


# ------------------------------------------------------------------ keeping


def test_what_is_put_is_got_again(kept: ObjectCache) -> None:
    assert kept.get("a") is None
    kept.put("a", CODE)
    assert kept.get("a") == CODE
    assert kept.get("b") is None
    kept.put("a", b"newer")
    assert kept.get("a") == b"newer"
    assert [f.name for f in kept.folder.iterdir()] == ["a.object"], "no temporary file is left"


def test_the_key_follows_from_every_text_and_from_the_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.key("ab", "c") != cache.key("a", "bc")
    assert cache.key("ir", "cpu") == cache.key("ir", "cpu")
    before = cache.key("ir", "cpu")
    monkeypatch.setattr(cache, "_versions", lambda: b"another LLVM")
    assert cache.key("ir", "cpu") != before


@posix
def test_folder_and_entries_are_the_users_alone(kept: ObjectCache) -> None:
    before = os.umask(0)
    try:
        kept.put("a", CODE)
    finally:
        os.umask(before)
    assert stat.S_IMODE(kept.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry(kept, "a").stat().st_mode) == 0o600


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    kept = ObjectCache(tmp_path / "c", limit=4 * (len(CODE) + 100))
    for age, key in enumerate("abcd"):
        kept.put(key, CODE)
        os.utime(entry(kept, key), (1000 + age, 1000 + age))
    assert kept.get("a") == CODE  # used just now: no longer the oldest
    kept.put("e", CODE)
    assert sorted(f.stem for f in kept.folder.iterdir()) == ["a", "c", "d", "e"]
    kept.put("f", bytes(kept.limit))  # larger than all room: not kept, and nothing goes for it
    assert sorted(f.stem for f in kept.folder.iterdir()) == ["a", "c", "d", "e"]


def test_only_own_entries_make_room(tmp_path: Path) -> None:
    kept = ObjectCache(tmp_path / "c", limit=len(CODE) + 100)
    kept.put("a", CODE)
    note, old, young = (kept.folder / name for name in ("note.txt", ".1-old.tmp", ".2-young.tmp"))
    for file in (note, old, young):
        file.write_bytes(CODE)
    os.utime(old, (1000, 1000))
    kept.put("b", CODE)
    assert {f.name for f in kept.folder.iterdir()} == {"b.object", "note.txt", ".2-young.tmp"}


# ------------------------------------------------------------------ damage


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "longer", "another key", "foreign"])
def test_a_damaged_entry_is_deleted_and_not_used(kept: ObjectCache, damage: str) -> None:
    kept.put("a", CODE)
    file = entry(kept, "a")
    data = bytearray(file.read_bytes())
    if damage == "truncated":
        data = data[:-1]
    elif damage == "empty":
        data = bytearray()
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
    elif damage == "longer":
        data += b"\0"
    elif damage == "another key":
        kept.put("b", b"b's code")
        data = bytearray(entry(kept, "b").read_bytes())
    else:
        data = bytearray(b"\x7fELF" + bytes(100))
    file.write_bytes(data)
    assert kept.get("a") is None
    assert not file.exists()
    kept.put("a", CODE)
    assert kept.get("a") == CODE


def test_every_truncation_is_noticed(kept: ObjectCache) -> None:
    kept.put("a", b"short")
    data = entry(kept, "a").read_bytes()
    for n in range(len(data)):
        entry(kept, "a").write_bytes(data[:n])
        assert kept.get("a") is None, n


# ------------------------------------------------------------------ others' files


@posix
def test_another_users_folder_is_refused_with_one_warning(
    kept: ObjectCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.put("a", CODE)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert kept.get("a") is None
        kept.put("b", CODE)
        assert kept.get("a") is None
    assert len(seen) == 1
    message = str(seen[0].message)
    assert "belongs to another user" in message
    assert "CHAINRULE_CACHE_DIR" in message
    assert "\n" not in message
    assert not entry(kept, "b").exists()


@posix
def test_another_users_entry_is_refused(kept: ObjectCache, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.put("a", CODE)
    real = os.fstat

    def foreign(file: int) -> os.stat_result:
        found = list(real(file))
        if stat.S_ISREG(found[0]):
            found[4] += 1
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", foreign)
    with pytest.warns(RuntimeWarning, match=r"a\.object belongs to another user"):
        assert kept.get("a") is None


@posix
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_can_write_is_refused(kept: ObjectCache, mode: int) -> None:
    kept.put("a", CODE)
    kept.folder.chmod(mode)
    with pytest.warns(RuntimeWarning, match="writable by others"):
        assert kept.get("a") is None
    kept.put("b", CODE)
    assert not entry(kept, "b").exists()
    kept.folder.chmod(0o755)  # others may read: code is no secret
    assert kept.get("a") == CODE


@posix
@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_an_entry_that_others_can_write_is_refused(kept: ObjectCache, mode: int) -> None:
    kept.put("a", CODE)
    entry(kept, "a").chmod(mode)
    with pytest.warns(RuntimeWarning, match=r"a\.object is writable by others"):
        assert kept.get("a") is None


@posix
def test_no_link_is_followed_to_an_entry(kept: ObjectCache, tmp_path: Path) -> None:
    kept.put("a", CODE)
    real = tmp_path / "elsewhere"
    entry(kept, "a").rename(real)
    entry(kept, "a").symlink_to(real)
    assert kept.get("a") is None
    kept.put("a", CODE)
    assert not entry(kept, "a").is_symlink(), "the link is replaced, not written through"
    assert kept.get("a") == CODE


@posix
def test_a_link_to_the_folder_must_be_the_users_own(
    kept: ObjectCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.put("a", CODE)
    link = tmp_path / "link"
    link.symlink_to(kept.folder)
    linked = ObjectCache(link)
    assert linked.get("a") == CODE
    real = os.lstat

    def foreign(path: Path) -> os.stat_result:
        found = list(real(path))
        found[4] += 1
        return os.stat_result(found)

    monkeypatch.setattr(os, "lstat", foreign)
    with pytest.warns(RuntimeWarning, match="is another user's link"):
        assert linked.get("a") is None


@posix
def test_a_pipe_in_the_place_of_an_entry_does_not_block(kept: ObjectCache) -> None:
    kept.put("a", CODE)
    entry(kept, "a").unlink()
    os.mkfifo(entry(kept, "a"), 0o600)
    with pytest.warns(RuntimeWarning, match="is not a file"):
        assert kept.get("a") is None


# ------------------------------------------------------------------ no place


@pytest.mark.parametrize("call", ["open", "replace", "mkdir", "scandir"])
def test_a_disk_that_refuses_means_no_cache_and_no_word(
    kept: ObjectCache, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, refuse)
    kept.put("a", CODE)
    monkeypatch.undo()
    assert kept.get("a") in ((CODE, None) if call == "scandir" else (None,))
    assert not [f for f in kept.folder.parent.rglob("*") if f.suffix == ".tmp"]


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "below"):
        ObjectCache(folder).put("a", CODE)
        assert ObjectCache(folder).get("a") is None
    assert (tmp_path / "taken").read_text() == "mine"


def test_switched_off_and_chosen_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", "0")
    assert cache.object_cache() is None
    monkeypatch.setenv("CHAINRULE_CACHE", "1")
    monkeypatch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path / "here"))
    assert cache.object_cache() == ObjectCache(tmp_path / "here")
    monkeypatch.delenv("CHAINRULE_CACHE_DIR")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(sys, "platform", "linux")
    if os.name == "posix":
        assert cache.default_folder() == tmp_path / "xdg" / "chainrule"
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")
        assert cache.default_folder() == tmp_path / ".cache" / "chainrule"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.default_folder() == tmp_path / "Library" / "Caches" / "chainrule"

    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", homeless)
    assert cache.object_cache() is None


# ------------------------------------------------------------------ at work


def test_many_at_once_read_whole_entries_or_none(tmp_path: Path) -> None:
    """Writers, readers and the making of room, all on two keys and room for one."""
    kept = ObjectCache(tmp_path / "c", limit=len(CODE) + 200)
    wrong: list[object] = []

    def work() -> None:
        try:
            for i in range(60):
                kept.put("ab"[i % 2], CODE)
                if kept.get("ab"[i % 2]) not in (CODE, None):
                    wrong.append("torn")
        except Exception as error:  # noqa: BLE001  a thread's errors would be lost
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_compiled_code_comes_from_the_disk_and_damage_from_the_compiler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(native, "_KEPT", 0)  # nothing stays in memory by itself
    ir = f"define i64 @f() {{\n  ret i64 {time.time_ns()}\n}}\n"

    def outcome() -> tuple[int, int, int]:
        before = (counts.compiled, counts.loaded, counts.shared)
        compile_module(ir, host()).address("f")
        return counts.compiled - before[0], counts.loaded - before[1], counts.shared - before[2]

    assert outcome() == (1, 0, 0)
    assert outcome() == (0, 1, 0)
    held = compile_module(ir, host())
    assert outcome() == (0, 0, 1)
    del held
    file = next(tmp_path.glob("*.object"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 0x80
    file.write_bytes(data)
    assert outcome() == (1, 0, 0)
    assert outcome() == (0, 1, 0)
    monkeypatch.setenv("CHAINRULE_CACHE", "0")
    assert outcome() == (1, 0, 0)
    monkeypatch.setenv("CHAINRULE_CACHE", "1")
    monkeypatch.setattr(native, "CODEGEN_LEVEL", 2)
    assert outcome() == (1, 0, 0), "what the code generator is asked for is part of the key"


def test_a_warm_entry_loads_in_three_milliseconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In processor time and the best of many, for other programs run here too."""
    monkeypatch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path))
    ir = f"define i64 @f() {{\n  ret i64 {time.time_ns()}\n}}\n"
    # What is not for others is internal, as in real modules: a name costs more to load than its code.
    line = "  %y{i} = mul i64 %x, {i}\n  store volatile i64 %y{i}, ptr %p\n"
    body = "".join(line.format(i=i) for i in range(100))
    for i in range(20):
        ir += f"define internal i64 @f{i}(i64 %x, ptr %p) {{\n{body}  ret i64 %x\n}}\n"
    compile_module(ir, host())
    best = 1.0
    for _ in range(20):
        start = time.process_time()
        compile_module(ir, host()).address("f")
        best = min(best, time.process_time() - start)
    assert best <= 0.003


def test_no_warning_where_all_is_well(kept: ObjectCache) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept.put("a", CODE)
        assert kept.get("a") == CODE
