"""gRPC by hand, over python3-h2: what no well-behaved client or server sends."""

import socket
import struct
import threading

import h2.config
import h2.connection
import h2.events
import h2.exceptions

import harness


class Connection:
    """One HTTP/2 connection to a daemon's gRPC port, or over `link`, a connected socket. Raises
    OSError when the daemon is silent."""

    def __init__(self, node=None, timeout=10, link=None):
        self._socket = link or socket.create_connection((node.ip, harness.GRPC_PORT), timeout)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._flush()
        self.headers = {}       # by stream: what was answered, the end of the call included
        self.ended = set()      # streams
        self.gone = None        # why the daemon closes the connection: the text of its GOAWAY
        self.closed = False
        self.pongs = 0

    def call(self, method, *headers):
        """Begins a call; the id of its stream."""
        stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream, [
            (":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "x"),
            ("te", "trailers"), ("content-type", "application/grpc"), *headers])
        self._flush()
        return stream

    def send(self, stream, data, end=False):
        """Sends all of it as the daemon lets us; False when it has ended the call before that, or
        lets us wait for longer than the timeout."""
        try:
            while data:
                if stream in self.ended or self.closed:
                    return False
                window = min(self._h2.local_flow_control_window(stream),
                             self._h2.max_outbound_frame_size, len(data))
                if window == 0:
                    self.receive()
                    continue
                self._h2.send_data(stream, data[:window])
                data = data[window:]
                self._flush()
            if end:
                self._h2.end_stream(stream)
                self._flush()
        except (OSError, h2.exceptions.ProtocolError):
            return False
        return True

    def ping(self):
        self._h2.ping(b"podmirro")
        self._flush()

    def receive(self, timeout=None):
        """Waits for something to come, and takes it in."""
        if timeout is not None:
            self._socket.settimeout(timeout)
        data = self._socket.recv(65536)
        if not data:
            self.closed = True
            return
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError:     # something came after the daemon's last word
            self.closed = True
            return
        for event in events:
            if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                self.headers.setdefault(event.stream_id, {}).update(event.headers)
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                self.ended.add(event.stream_id)
            elif isinstance(event, h2.events.DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.PingAckReceived):
                self.pongs += 1
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.gone = (event.additional_data or b"").decode()
        self._flush()

    def end_of(self, stream):
        """Waits for the end of the call; the headers of its answer."""
        while stream not in self.ended and not self.closed:
            self.receive()
        return self.headers.get(stream, {})

    def _flush(self):
        self._socket.sendall(self._h2.data_to_send())

    def close(self):
        """From any thread: whoever waits for something to come is told that it is over."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:     # over already
            pass
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Server:
    """A gRPC port that gives one and the same answer to every call: these headers, this data, and
    these trailers behind it, or no end. It never resets a stream, as gRPC's own servers do."""

    def __init__(self, ip, headers, data, trailers=None):
        self._headers, self._data, self._trailers = headers, data, trailers
        self.calls = 0
        self._listener = socket.create_server((ip, harness.GRPC_PORT), backlog=16)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:     # closed
                return
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link):
        h2_link = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        h2_link.initiate_connection()
        left = {}       # by stream: data to be sent
        with link:
            try:
                link.sendall(h2_link.data_to_send())
                while data := link.recv(65536):
                    for event in h2_link.receive_data(data):
                        if isinstance(event, h2.events.RequestReceived):
                            self.calls += 1
                            h2_link.send_headers(event.stream_id, [
                                (":status", "200"), ("content-type", "application/grpc"),
                                *self._headers])
                            left[event.stream_id] = self._data
                        elif isinstance(event, h2.events.StreamReset):
                            left.pop(event.stream_id, None)
                    for stream, data in left.items():
                        while window := min(h2_link.local_flow_control_window(stream), len(data),
                                            h2_link.max_outbound_frame_size):
                            h2_link.send_data(stream, data[:window])
                            data = data[window:]
                        left[stream] = data
                    if self._trailers:
                        for stream in [stream for stream, data in left.items() if not data]:
                            h2_link.send_headers(stream, self._trailers, end_stream=True)
                            del left[stream]
                    link.sendall(h2_link.data_to_send())
            except (OSError, h2.exceptions.ProtocolError):
                pass

    def close(self):
        self._listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def frame(message, compressed=False, length=None):
    """A message as gRPC sends it; `length` is what it claims to have."""
    return struct.pack(">BI", compressed, len(message) if length is None else length) + message
