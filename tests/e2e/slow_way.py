"""A slow way for a pod of bridge.py: a network device of the kernel at both ends, and between them
a thread that lets each frame through as fast and as late as a long thin line would. Not every
kernel can do that itself (netem)."""

import collections
import fcntl
import os
import select
import struct
import threading
import time

from harness import Skip

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
FRAMES = 1000           # wait at each end of the line, as with netem; what is more is lost
LONGEST_FRAME = 65536


class SlowWay:
    """Two devices, `near` and `far`, to be put where they belong by their names. Runs until
    close(), and its devices live as long."""

    def __init__(self, near, far, bits_per_second, delay):
        self.carried = [0, 0]   # bytes of frames so far, from near to far and back
        self._bits_per_second, self._delay = bits_per_second, delay
        self._ends = [_open_tap(near), _open_tap(far)]
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        os.close(self._stopped)
        self._thread.join(10)
        for end in [*self._ends, self._stop]:
            os.close(end)

    def _run(self):
        lines = [collections.deque(), collections.deque()]  # (when it arrives, frame) by sender
        free = [0.0, 0.0]   # when the last frame has left
        while True:
            due = min((line[0][0] for line in lines if line), default=None)
            wait = None if due is None else max(0, due - time.monotonic())
            readable, _, _ = select.select([*self._ends, self._stop], [], [], wait)
            if self._stop in readable:
                return
            now = time.monotonic()
            for side, (end, line) in enumerate(zip(self._ends, lines)):
                if end in readable:
                    frame = os.read(end, LONGEST_FRAME)
                    if len(line) < FRAMES:
                        free[side] = max(free[side], now) + len(frame) * 8 / self._bits_per_second
                        line.append((free[side] + self._delay, frame))
                        self.carried[side] += len(frame)
                while line and line[0][0] <= now:
                    self._write(self._ends[1 - side], line.popleft()[1])

    @staticmethod
    def _write(end, frame):
        try:
            os.write(end, frame)
        except OSError:
            pass    # the device is down: lost, as on any line


def _open_tap(name):
    try:
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    except OSError as error:
        raise Skip(f"no tap devices here: {error}") from error
    return end
