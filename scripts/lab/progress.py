"""One line that is rewritten on a terminal, or a line every two seconds elsewhere."""
import sys
import time


class Progress:
    """`update` often; `say` for what should stay."""

    def __init__(self, stream=sys.stderr, every_s: float = 2.0):
        self._stream, self._tty, self._every_s = stream, stream.isatty(), every_s
        self._last, self._width = 0.0, 0

    def update(self, text: str) -> None:
        if self._tty:
            self._stream.write("\r" + text.ljust(self._width)[:200])
            self._width = len(text)
        elif time.monotonic() - self._last >= self._every_s:
            self._last = time.monotonic()
            self._stream.write(text + "\n")
        self._stream.flush()

    def say(self, text: str) -> None:
        if self._tty and self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._width = 0
        self._stream.write(text + "\n")
        self._stream.flush()
