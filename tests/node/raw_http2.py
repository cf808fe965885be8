"""A client of HTTP/2 that is as rude as it likes: it need not read, nor finish what it begins, but keeps to the windows.

with Rude(port) as rude:                  # or Rude(port, context, "localhost") under TLS; window=0: it takes no answer
    stream = rude.call("/grpc.health.v1.Health/Watch", b"")   # a whole request
    stream = rude.half(path, size)                            # its beginning; rude.push() sends on what may be sent
    rude.ended                                                # streams that the server has ended
"""

import socket
import struct
import time

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _WINDOW = 0, 1, 3, 4, 6, 8
_END_STREAM, _ACK = 1, 1
_INITIAL_WINDOW, _WINDOW_AT_FIRST = 4, 65_535


def _frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _literal(name, value):
    value = value if isinstance(value, bytes) else value.encode()
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value


class Rude:
    def __init__(self, port, context=None, host=None, window=_WINDOW_AT_FIRST):
        self._socket = socket.create_connection(("127.0.0.1", port))
        if context is not None:
            self._socket = context.wrap_socket(self._socket, server_hostname=host)
        settings = struct.pack(">HI", _INITIAL_WINDOW, window)
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, settings))
        self._socket.settimeout(0.02)
        self._received = b""
        self._next = 1
        self._initial = _WINDOW_AT_FIRST
        self._windows = {0: _WINDOW_AT_FIRST}
        self._left = {}  # stream -> bytes of its request that are not sent yet
        self.sent = 0  # of those
        self.headers = {}  # stream -> how many blocks of headers came; the last has the status
        self.ended = set()
        self.hung_up = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def call(self, path, request, *more):
        """`more`: pairs of headers."""
        stream = self._begin(path, *more)
        message = b"\0" + struct.pack(">I", len(request)) + request
        self._socket.sendall(_frame(_DATA, _END_STREAM, stream, message))
        return stream

    def half(self, path, size):
        """Says that a request of this size comes, and never sends its last byte."""
        stream = self._begin(path)
        self._windows[stream] = self._initial
        self._socket.sendall(_frame(_DATA, 0, stream, b"\0" + struct.pack(">I", size)))
        for place in (0, stream):
            self._windows[place] -= 5
        self._left[stream] = size - 1
        return stream

    def reset(self, stream):
        self._socket.sendall(_frame(_RESET, 0, stream, struct.pack(">I", 8)))

    def push(self, seconds):
        """Sends all that may be sent meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.hung_up:
            self.hear()
            for stream in list(self._left):
                while room := min(16_384, self._left[stream], self._windows[stream], self._windows[0]):
                    if room < 0:
                        break
                    self._socket.settimeout(10)
                    self._socket.sendall(_frame(_DATA, 0, stream, bytes(room)))
                    self._socket.settimeout(0.02)
                    self._left[stream] -= room
                    self._windows[stream] -= room
                    self._windows[0] -= room
                    self.sent += room

    def hear(self):
        """What has come by now."""
        try:
            while data := self._socket.recv(65_536):
                self._received += data
                self._read()
            self.hung_up = True
        except TimeoutError:
            pass
        except OSError:
            self.hung_up = True

    def _begin(self, path, *more):
        stream, self._next = self._next, self._next + 2
        pairs = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "localhost",
            "te": "trailers",
            "content-type": "application/grpc",
        }
        block = b"".join(_literal(name, value) for name, value in (*pairs.items(), *more))
        self._socket.sendall(_frame(_HEADERS, 4, stream, block))
        return stream

    def _read(self):
        while len(self._received) >= 9:
            length = int.from_bytes(self._received[:3], "big")
            if len(self._received) < 9 + length:
                return
            kind, flags = self._received[3], self._received[4]
            stream = int.from_bytes(self._received[5:9], "big") & 0x7FFFFFFF
            payload = self._received[9 : 9 + length]
            self._received = self._received[9 + length :]
            self._take(kind, flags, stream, payload)

    def _take(self, kind, flags, stream, payload):
        if kind == _WINDOW and stream in self._windows:
            self._windows[stream] += int.from_bytes(payload, "big")
        elif kind == _SETTINGS and not flags & _ACK:
            for number, value in struct.iter_unpack(">HI", payload):
                if number == _INITIAL_WINDOW:
                    self._windows = {
                        place: room + (value - self._initial if place else 0)
                        for place, room in self._windows.items()
                    }
                    self._initial = value
            self._socket.sendall(_frame(_SETTINGS, _ACK, 0))
        elif kind == _PING and not flags & _ACK:
            self._socket.sendall(_frame(_PING, _ACK, 0, payload))
        elif kind == _RESET:
            self._left.pop(stream, None)
            self.ended.add(stream)
        elif kind == _HEADERS:
            self.headers[stream] = self.headers.get(stream, 0) + 1
            if flags & _END_STREAM:
                self._left.pop(stream, None)
                self.ended.add(stream)
