"""Processes that take turns: while one measures, the others are stopped.

A stopped process uses no core, whatever its threads would do: PyTorch's, with OMP_WAIT_POLICY=active, would
go on spinning for minutes after the last call.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from bench.page import ROOT
from bench.peers import SUBJECTS


class Child:
    """One subject's process, stopped unless it was asked something."""

    def __init__(self, subject: str, cores: str, settings: Mapping[str, str]) -> None:
        self.subject = subject
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (close ends it)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.child", cores, subject],
            cwd=ROOT, env={**os.environ, **SUBJECTS[subject].environment(cores), **settings}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
        )  # fmt: skip

    def begin(self, do: str, **asked: Any) -> None:
        self.process.send_signal(signal.SIGCONT)
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **asked}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self._failed()

    def end(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self._failed()
        self.process.send_signal(signal.SIGSTOP)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, do: str, **asked: Any) -> dict[str, Any]:
        self.begin(do, **asked)
        return self.end()

    def _failed(self) -> None:
        self.log.seek(0)
        raise SystemExit(f"{self.subject} failed:\n{self.log.read()[-4000:]}")

    def close(self) -> None:
        self.process.kill()  # also ends a process that is stopped
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.log):
            if pipe is not None:
                pipe.close()


class Family:
    """Some subjects' processes, by name; with ``cache`` the compiler keeps its objects in that folder."""

    def __init__(self, subjects: Sequence[str], cores: str, cache: str = "") -> None:
        settings = {"CHAINRULE_CACHE_DIR": cache} if cache else {}
        self.children: dict[str, Child] = {}
        for name in subjects:
            self.children[name] = Child(name, cores, settings)

    def __enter__(self) -> dict[str, Child]:
        return self.children

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self.children.values():
            child.close()
