"""A web server on this machine with the faults that servers have."""

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site:
    """What the server does at each path, and what it was asked.

    Attributes
    ----------
    content : bytes
        The file.
    requests : list of tuple
        Path and Range header (or None) of every request.
    """

    def __init__(self, content):
        self.content = content
        self.requests = []
        self.end = threading.Event()

    @property
    def ranges(self):
        return [asked for _, asked in self.requests]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        site, name = self.server.site, self.path.strip("/")
        asked = self.headers.get("Range")
        site.requests.append((name, asked))
        content = site.content
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
        if name in ("missing", "busy"):
            return self.send_error(404 if name == "missing" else 503)
        if name.startswith("to_"):
            target = {"to_range": "/range", "to_file": "file:///etc/hostname", "to_ftp": "ftp://127.0.0.1/x"}[name]
            return self.reply(302, b"", 0, Location=target)
        if name == "silent":
            site.end.wait(20)
            return None
        if name in ("corrupt", "unsteady"):
            content = b"x" * len(content)
        if start and name not in ("plain", "truncated", "stalled", "trickle"):
            if start >= len(content):
                return self.send_error(416)
            # The range "shifted" is not the one that was asked for.
            first = start + 1 if name == "shifted" else start
            where = f"bytes {first}-{len(content) - 1}/{len(content)}"
            return self.reply(206, content[first:], len(content) - first, **{"Content-Range": where})
        half = len(content) // 2
        if name in ("truncated", "unsteady"):
            return self.reply(200, content[:half], len(content))
        if name == "flaky" and len(site.requests) == 1:
            return self.reply(200, content[:half], len(content))
        if name == "stalled":
            self.reply(200, content[:half], len(content))
            site.end.wait(20)
            return None
        if name in ("trickle", "slow"):
            self.reply(200, b"", len(content))
            step, pause = (1, 0.05) if name == "trickle" else (len(content) // 100, 0.05)
            for place in range(0, len(content), step):
                if site.end.wait(pause):
                    return None
                self.wfile.write(content[place : place + step])
                self.wfile.flush()
            return None
        return self.reply(200, content, len(content))

    def reply(self, status, body, length, **headers):
        self.send_response(status)
        for key, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_):
        """Say nothing of clients that went away."""


@contextmanager
def served(content):
    """Yield a site and its address while a server runs."""
    server = Server(("127.0.0.1", 0), Handler)
    server.site = Site(content)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.site, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.site.end.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
