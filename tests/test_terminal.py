"""The command as somebody at a terminal meets it: ended by keys and signals, suspended, pasted into."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from places import environment_of

from langchain_openrouter_free import ChatOpenRouterFree
from langchain_openrouter_free.simulator import Simulator

A, B = "test/a:free", "test/b:free"
CTRL_C, CTRL_D, CTRL_Z = "\x03", "\x04", "\x1a"
_PATIENCE, _AGAIN = 45.0, 3.0  # seconds


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, words: str, environment: dict[str, str]) -> None:
        self.shown = b""
        self.pid, self._end = pty.fork()
        if self.pid == 0:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP):
                signal.signal(number, signal.SIG_DFL)
            os.execve(sys.executable, [sys.executable, "-m", "langchain_openrouter_free", *words.split()], environment)
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    def until(self, happened: Callable[[], object]) -> None:
        ends = time.monotonic() + _PATIENCE
        while not happened():
            assert time.monotonic() < ends, self.shown.decode(errors="replace")
            self._read()

    def shows(self, pattern: str) -> None:
        self.until(lambda: re.search(pattern.encode(), self.shown))

    def does(self, what: str | signal.Signals) -> None:
        os.write(self._end, what.encode()) if isinstance(what, str) else os.kill(self.pid, what)

    def ends(self, *, again: str = "") -> int:
        """Wait for its end; `again` is pressed until then, now and then.

        A Ctrl-C that comes between Python's last look for signals and its waiting for a line ends nothing.
        """
        status: list[int] = []
        pressed = time.monotonic()

        def gone() -> bool:
            nonlocal pressed
            if again and time.monotonic() - pressed > _AGAIN:
                pressed = time.monotonic()
                self.does(again)
            pid, code = os.waitpid(self.pid, os.WNOHANG)
            status.extend([code] if pid else [])
            return bool(pid)

        self.until(gone)
        while self._read():
            pass
        self.pid = 0
        return os.waitstatus_to_exitcode(status[0])

    @property
    def is_as_before(self) -> bool:
        """Whether the cursor is shown, on the usual screen, with an echo."""
        shown = [self.shown.rfind(f"\x1b[?{name}".encode()) for name in ("25l", "25h", "1049h", "1049l")]
        return shown[0] <= shown[1] and shown[2] <= shown[3] and bool(termios.tcgetattr(self._end)[3] & termios.ECHO)

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._end)

    def _read(self) -> bytes:
        said = b""
        with contextlib.suppress(OSError):  # there is nobody at the other end
            if select.select([self._end], [], [], 0.05)[0]:
                said = os.read(self._end, 65_536)
        self.shown += said
        return said


@pytest.fixture
def start(sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Terminal]]:
    """A starter of commands; the first model takes its time."""
    sim.offer(A, B)
    sim.script({A: {"do": "ok", "latency": 0.05, "speed": 10, "text": "one two three " * 60}})
    environment = environment_of(sim, tmp_path, monkeypatch, f'models = ["{A}", "{B}"]\n')
    with contextlib.ExitStack() as running:

        def begin(words: str, **more: str) -> Terminal:
            terminal = Terminal(words, {**environment, "TERM": "xterm", **more})
            running.callback(terminal.close)
            return terminal

        yield begin


@pytest.mark.parametrize(
    ("words", "shows", "what", "code"),
    [
        ("chat hello", "three", CTRL_C, 130),
        ("chat hello", "three", signal.SIGTERM, 130),
        ("chat hello", "three", signal.SIGHUP, 130),
        ("chat", "> ", CTRL_C, 130),
        ("chat", "> ", CTRL_D, 0),
        ("reset state", "y/N", CTRL_C, 130),
        ("reset state", "y/N", CTRL_D, 1),
        ("watch", "last calls", CTRL_C, 0),
        ("watch", "last calls", signal.SIGTERM, 0),
        ("simulate --port 0", "Ctrl-C ends", signal.SIGTERM, 0),
    ],
)
def test_who_ends_it_finds_the_terminal_as_before(
    start: Callable[..., Terminal], words: str, shows: str, what: str | signal.Signals, code: int
) -> None:
    """The books tell of a call that was on its way."""
    terminal = start(words)
    terminal.shows(shows)
    terminal.does(what)
    assert terminal.ends(again=CTRL_C if what == CTRL_C else "") == code
    assert terminal.is_as_before
    assert b"Traceback" not in terminal.shown
    assert len(ChatOpenRouterFree().history()) == (shows == "three")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_ctrl_c_ends_the_endpoint_at_once(start: Callable[..., Terminal], workers: int) -> None:
    """What is on its way is booked all the same, and nobody is shown a trace."""
    terminal = start(f"serve --port 0 --workers {workers}")
    terminal.shows("Ctrl-C ends")
    url = re.findall(r"http://[\d.:]+/v1", terminal.shown.decode())[0]
    asked = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    with httpx.stream("POST", f"{url}/chat/completions", json=asked, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        began = time.monotonic()
        for _ in range(2):
            terminal.does(CTRL_C)
            time.sleep(0.3)
        assert terminal.ends() == 0
        assert time.monotonic() - began < 5
    assert terminal.shown.endswith(b"stopped\x1b[0m\r\n")
    assert b"Traceback" not in terminal.shown
    assert len(ChatOpenRouterFree().history()) == 1


def test_a_watch_that_is_suspended_gives_the_terminal_back(start: Callable[..., Terminal]) -> None:
    terminal = start("watch")
    terminal.shows("last calls")
    assert not terminal.is_as_before
    terminal.does(CTRL_Z)
    terminal.until(lambda: os.waitpid(terminal.pid, os.WNOHANG | os.WUNTRACED)[0])
    terminal.until(lambda: terminal.is_as_before)
    terminal.does(signal.SIGCONT)
    terminal.until(lambda: not terminal.is_as_before)
    terminal.does(CTRL_C)
    assert (terminal.ends(), terminal.is_as_before) == (0, True)


def test_a_terminal_that_cannot_move_its_cursor_sees_one_look(start: Callable[..., Terminal]) -> None:
    terminal = start("watch", TERM="dumb")
    assert terminal.ends() == 0
    assert b"none yet" in terminal.shown
    assert b"\x1b" not in terminal.shown


@pytest.mark.parametrize("pasted", ["one\ntwo\n\nthree\n", "\x1b[200~one\ntwo\n\nthree\x1b[201~\n"])
def test_what_is_pasted_is_one_question(start: Callable[..., Terminal], sim: Simulator, pasted: str) -> None:
    terminal = start(f"chat --model {B}")
    terminal.shows("> ")
    terminal.does(pasted)
    terminal.shows(f"(?s)-- {B}.*> ")
    terminal.does(f"{'x' * 5000}\n")
    terminal.until(lambda: terminal.shown.count(f"-- {B}".encode()) == 2)
    terminal.does("exit\n")
    assert terminal.ends() == 0
    said = [chat.body["messages"][-1]["content"] for chat in sim.chats()]
    assert said == ["one\ntwo\n\nthree", "x" * 5000]


def test_ctrl_c_while_it_begins() -> None:
    code = (
        "import signal\nfrom langchain_openrouter_free.cli import main\n"
        "main._run = lambda: signal.raise_signal(signal.SIGINT)\nmain.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_a_locale_without_its_characters_leaves_a_prompt_as_it_is(
    start: Callable[..., Terminal], sim: Simulator
) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    terminal = start(f"chat --model {B} Grüße", **plain)
    assert terminal.ends() == 0
    assert [chat.body["messages"][-1]["content"] for chat in sim.chats()] == ["Grüße"]
