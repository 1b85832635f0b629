"""A web server on this machine with the faults that servers have."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site:
    """What the server does at each path, and what it was asked.

    Attributes
    ----------
    content : bytes
        The file.
    requests : list of str
        Path of every request.
    """

    def __init__(self, content):
        self.content = content
        self.requests = []
        self.end = threading.Event()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        site, name = self.server.site, self.path.strip("/")
        site.requests.append(name)
        content = site.content
        if name in ("missing", "busy"):
            return self.send_error(404 if name == "missing" else 503)
        if name.startswith("to_"):
            target = {"to_whole": "/whole", "to_file": "file:///etc/hostname", "to_ftp": "ftp://127.0.0.1/x"}[name]
            return self.reply(302, b"", 0, Location=target)
        if name == "silent":
            site.end.wait(20)
            return None
        if name == "corrupt":
            content = b"x" * len(content)
        half = len(content) // 2
        if name == "truncated":
            return self.reply(200, content[:half], len(content))
        if name == "flaky" and len(site.requests) == 1:
            return self.reply(200, content[:half], len(content))
        if name == "stalled":
            self.reply(200, content[:half], len(content))
            site.end.wait(20)
            return None
        if name == "slow":
            self.reply(200, b"", len(content))
            step = len(content) // 100
            for place in range(0, len(content), step):
                if site.end.wait(0.05):
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
