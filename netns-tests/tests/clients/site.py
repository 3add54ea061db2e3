"""A target for a browser: a page, something to download, a WebSocket that sends everything back."""

import base64
import hashlib
import pathlib
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = pathlib.Path(__file__).with_name("page.html").read_bytes()
DOWNLOAD = bytes((i * 31 + (i >> 8)) & 255 for i in range(1 << 16)) * 128
finished = threading.Event()


class Site(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/site/":
            self.answer("text/html; charset=utf-8", PAGE)
        elif self.path == "/site/bytes":
            self.answer("application/octet-stream", DOWNLOAD)
        elif self.path.startswith("/site/end.svg"):
            # The page is not loaded, and so not dumped, before it has come to its end.
            finished.wait(60)
            self.answer("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg"/>')
        elif self.path == "/site/finished":
            finished.set()
            self.answer("text/plain", b"good\n")
        elif self.path == "/site/socket":
            self.web_socket()
        else:
            self.answer("text/plain", b"ok\n")

    def web_socket(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while head := self.rfile.read(2):
            length = head[1] & 127
            if length == 126:
                (length,) = struct.unpack(">H", self.rfile.read(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self.rfile.read(8))
            mask = self.rfile.read(4)
            data = self.rfile.read(length)
            whole = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
            data = (int.from_bytes(data, "big") ^ whole).to_bytes(length, "big")
            if length < 126:
                size = bytes([length])
            elif length < 1 << 16:
                size = bytes([126]) + struct.pack(">H", length)
            else:
                size = bytes([127]) + struct.pack(">Q", length)
            self.wfile.write(head[:1] + size + data)
            if head[0] & 15 == 8:
                return

    def log_message(self, words, *more):
        print(self.command, self.path, words % more, flush=True)


ThreadingHTTPServer(("0.0.0.0", 9001), Site).serve_forever()
