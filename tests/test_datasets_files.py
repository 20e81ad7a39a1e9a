"""Finding and fetching files: every place, and mirrors that serve everything but what they should."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import re
import shutil
import socket
import threading
import time
import tracemalloc
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from chainrule import datasets
from chainrule.datasets import files
from chainrule.datasets.files import DataFile, obtain
from chainrule.errors import ConfigError, DataError

REPOSITORY = Path(__file__).resolve().parent.parent / "data" / "mnist"
CONTENT = bytes(range(256)) * 20
PACKED = gzip.compress(CONTENT)
FILE = DataFile("digits.gz", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


class Mirror(ThreadingHTTPServer):
    """``answers`` maps a path to bytes, or to a function that writes the answer itself."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.asked, self.sent = {}, [], 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        answer = self.server.answers.get(self.path)
        if answer is None:
            self.send_error(404)
        elif callable(answer):
            with contextlib.suppress(ConnectionError):
                answer(self)
        else:
            self.begin(len(answer))
            self.wfile.write(answer)

    def begin(self, length=None, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def mirror():
    server = Mirror()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """Nothing on this machine but an empty cache."""
    monkeypatch.setattr(files, "_repository_folders", lambda dataset: iter(()))
    monkeypatch.setattr(files, "cache_folder", lambda: str(tmp_path / "cache"))
    monkeypatch.delenv("CHAINRULE_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache" / "toy"


def put(folder, content=PACKED):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE.name).write_bytes(content)


# ---------------------------------------------------------------- folders


def test_the_order_of_places(monkeypatch, tmp_path, cache):
    chosen, repository = tmp_path / "chosen" / "toy", tmp_path / "repository" / "toy"
    monkeypatch.setenv("CHAINRULE_DATA", str(chosen.parent))
    monkeypatch.setattr(files, "_repository_folders", lambda dataset: iter([str(repository)]))
    repository.mkdir(parents=True)
    assert files.folders("toy") == [str(chosen), str(repository), str(cache)]
    for folder in (cache, repository, chosen):  # each found one hides those before
        put(folder)
        assert files.locate("toy", [FILE]) == str(folder)
        assert obtain("toy", FILE, ()) == CONTENT


def test_a_damaged_copy_is_passed_over(monkeypatch, tmp_path, cache):
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "chosen"))
    put(tmp_path / "chosen" / "toy", PACKED[:-1])
    put(cache)
    assert obtain("toy", FILE, ()) == CONTENT


def test_the_repository_is_found_from_below_and_from_the_package(monkeypatch, tmp_path):
    monkeypatch.undo()
    below = tmp_path / "checkout" / "notebooks" / "first"
    (tmp_path / "checkout" / "data" / "toy").mkdir(parents=True)
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert files.folders("toy")[0] == os.path.realpath(tmp_path / "checkout" / "data" / "toy")
    assert str(REPOSITORY) in files.folders("mnist")


def test_a_deleted_current_folder_is_no_obstacle(monkeypatch):
    monkeypatch.undo()

    def gone():
        raise FileNotFoundError

    monkeypatch.setattr(os, "getcwd", gone)
    assert str(REPOSITORY) in files.folders("mnist")


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x", "HOME": "/home/me"}, "/x/chainrule"),
        ("linux", {"XDG_CACHE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.cache/chainrule"),
        ("linux", {"HOME": "/home/me"}, "/home/me/.cache/chainrule"),
        ("darwin", {"XDG_CACHE_HOME": "/x", "HOME": "/Users/me"}, "/Users/me/Library/Caches/chainrule"),
        ("win32", {"LOCALAPPDATA": "/AppData/Local"}, "/AppData/Local/chainrule"),
        ("win32", {}, None),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="the expected paths are written as POSIX has them")
def test_the_cache_is_where_the_system_keeps_caches(monkeypatch, platform, variables, expected):
    monkeypatch.undo()
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(files.sys, "platform", platform)
    assert files.cache_folder() == expected


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_of_the_right_name_is_not_waited_for(cache):
    cache.mkdir(parents=True)
    os.mkfifo(cache / FILE.name)
    with pytest.raises(DataError, match="not a file"):
        obtain("toy", FILE, ())


# ---------------------------------------------------------------- contents


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (b"", "cut short"),
        (PACKED[: len(PACKED) // 2], "cut short"),
        (PACKED[:-1], "cut short"),
        (CONTENT, "not a whole gzip file"),
        (zlib.compress(CONTENT), "not a whole gzip file"),
        (PACKED[:-8] + b"\0" * 8, "not a whole gzip file"),  # CRC and length
        (gzip.compress(CONTENT[:-1]), "another content"),
        (gzip.compress(CONTENT[:-1] + b"x"), "another content"),
        (PACKED + b"x", "another content"),
        (gzip.compress(CONTENT + b"x"), "uncompresses to more"),
        (b"\x1f\x8b" + bytes(10_000), "larger than"),
    ],
)
def test_only_the_expected_content_is_believed(packed, reason):
    with pytest.raises(DataError, match=reason):
        files.unpack(packed, FILE)


def test_any_compression_of_the_content_will_do():
    for level in (1, 9):
        assert files.unpack(gzip.compress(CONTENT, level, mtime=level), FILE) == CONTENT
    random = np.random.default_rng(0).bytes(300_000)
    incompressible = DataFile("noise.gz", len(random), hashlib.sha256(random).hexdigest())
    assert files.unpack(gzip.compress(random, 0), incompressible) == random


def test_a_bomb_stays_small():
    bomb = gzip.compress(bytes(200_000_000), 9)
    file = DataFile("bomb.gz", 10_000_000, "0" * 64)
    tracemalloc.start()
    with pytest.raises(DataError, match="uncompresses to more than the 10,000,000 bytes"):
        files.unpack(bomb, file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25_000_000


def test_a_huge_file_of_the_right_name_is_not_read_whole(cache):
    put(cache)
    with open(cache / FILE.name, "r+b") as stream:
        stream.truncate(300_000_000)  # takes no room on the disk
    tracemalloc.start()
    with pytest.raises(DataError, match="larger than"):
        obtain("toy", FILE, ())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


# ---------------------------------------------------------------- mirrors


def test_a_download_is_kept(mirror, cache):
    mirror.answers["/good/digits.gz"] = PACKED
    assert obtain("toy", FILE, [mirror.url + "/good/"]) == CONTENT
    assert (cache / FILE.name).read_bytes() == PACKED
    assert os.listdir(cache) == [FILE.name]  # no temporary file stays
    assert obtain("toy", FILE, [mirror.url + "/good"]) == CONTENT
    assert mirror.asked == ["/good/digits.gz"]


def test_a_damaged_cache_is_replaced(mirror, cache):
    put(cache, PACKED[:100])
    mirror.answers["/digits.gz"] = PACKED
    assert obtain("toy", FILE, mirror.url) == CONTENT
    assert (cache / FILE.name).read_bytes() == PACKED


def cut_connection(handler):
    handler.begin(len(PACKED))
    handler.wfile.write(PACKED[:50])


def endless(handler):
    handler.begin()
    while True:
        handler.wfile.write(bytes(65536))
        handler.server.sent += 65536


def silent(handler):
    handler.begin(len(PACKED))
    time.sleep(1)


def trickle(handler):
    handler.begin(len(PACKED))
    for byte in PACKED:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.02)


def to_a_file(handler):
    handler.begin(0, 302, Location="file:///etc/hostname")


def in_circles(handler):
    handler.begin(0, 302, Location=handler.path)


def no_http(handler):
    handler.wfile.write(b"what?\r\n\r\n")


FAILURES = {
    "missing": (None, "Not Found"),
    "wrong content": (gzip.compress(b"x" * len(CONTENT)), "another content"),
    "an error page": (b"<html>sign in to the network</html>", "not a whole gzip file"),
    "truncated": (PACKED[:200], "cut short"),
    "bomb": (gzip.compress(bytes(50_000_000)), "larger than|uncompresses to more"),
    "cut connection": (cut_connection, "cut short|no proper HTTP answer"),
    "endless": (endless, "larger than"),
    "silent": (silent, "timed out"),
    "trickle": (trickle, "not there within"),
    "redirected to a file": (to_a_file, "not allowed"),
    "redirected in circles": (in_circles, "infinite loop"),
    "no HTTP": (no_http, "no proper HTTP answer"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_bad_mirror_is_named_and_the_next_one_serves(mirror, cache, monkeypatch, name):
    monkeypatch.setattr(files, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(files, "FILE_SECONDS", 0.2)
    answer, reason = FAILURES[name]
    if answer is not None:
        mirror.answers["/bad/digits.gz"] = answer
    with pytest.raises(DataError, match=rf"/bad/digits.gz: .*({reason})"):
        obtain("toy", FILE, [mirror.url + "/bad"])
    assert not cache.exists()
    monkeypatch.setattr(files, "FILE_SECONDS", 60)
    if name != "trickle":
        mirror.answers["/good/digits.gz"] = PACKED
        assert obtain("toy", FILE, [mirror.url + "/bad", mirror.url + "/good"]) == CONTENT
        assert (cache / FILE.name).read_bytes() == PACKED
    assert mirror.sent < 50_000_000  # what fits into the sockets' buffers, no more


def test_without_a_network_the_message_names_every_place_and_the_remedy(monkeypatch, tmp_path, cache):
    with socket.socket() as free:  # a port on which nobody listens
        free.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "chosen"))
    put(cache, b"junk")
    with pytest.raises(DataError) as caught:
        obtain("toy", FILE, [dead + "/a", dead + "/b"])
    message = str(caught.value)
    assert message.startswith("toy: no whole copy of digits.gz was found. Places tried:\n")
    assert f"{tmp_path / 'chosen' / 'toy' / 'digits.gz'}: not there" in message
    assert f"{cache / 'digits.gz'}: not a whole gzip file" in message
    assert f"{dead}/a/digits.gz: " in message
    assert f"{dead}/b/digits.gz: " in message
    assert re.search(rf"{dead}/b/digits.gz: [^<>]*refused", message)
    assert "remedy: connect to the internet" in message
    assert "CHAINRULE_DATA" in message


@pytest.mark.parametrize("address", ["file:///tmp", "ftp://127.0.0.1", "127.0.0.1", "http://[", "http://a:b"])
def test_a_mirror_is_a_web_address(address):
    with pytest.raises(ConfigError, match=r"mirror .*begins with https://"):
        obtain("toy", FILE, [address])


def test_a_cache_that_cannot_be_written_costs_a_warning_only(mirror, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    mirror.answers["/digits.gz"] = PACKED
    with pytest.warns(UserWarning, match="downloaded but not kept"):
        assert obtain("toy", FILE, [mirror.url]) == CONTENT


def test_a_user_without_a_home_has_no_cache(mirror, monkeypatch):
    monkeypatch.setattr(files, "cache_folder", lambda: None)
    mirror.answers["/digits.gz"] = PACKED
    assert obtain("toy", FILE, [mirror.url]) == CONTENT
    with pytest.raises(DataError, match="folder toy and set CHAINRULE_DATA"):
        obtain("toy", FILE, ())


def test_mnist_from_a_mirror_then_from_the_cache(mirror, cache):
    for path in REPOSITORY.glob("*.gz"):
        mirror.answers[f"/mnist/{path.name}"] = path.read_bytes()
    fetched = datasets.mnist(mirrors=[mirror.url + "/lost/", mirror.url + "/mnist/"])
    assert len(mirror.asked) == 8
    again = datasets.mnist(mirrors=())
    assert len(mirror.asked) == 8
    for part in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(fetched, part), getattr(again, part))
    assert np.bincount(again.y_test)[0] == 980


def test_half_a_download_is_completed(mirror, cache):
    mnist_cache = cache.parent / "mnist"
    mnist_cache.mkdir(parents=True)
    for path in REPOSITORY.glob("train-*.gz"):
        shutil.copy(path, mnist_cache)
    for path in REPOSITORY.glob("t10k-*.gz"):
        mirror.answers[f"/{path.name}"] = path.read_bytes()
    datasets.mnist(mirrors=[mirror.url])
    assert len(mirror.asked) == 2
    assert len(os.listdir(mnist_cache)) == 4
