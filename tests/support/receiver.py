"""A web hook's receiver: the standard library's server, which keeps what it gets and answers as told."""

import http.server
import json
import threading


class Receiver:
    """Use it in a `with`."""

    def __init__(self, port=0):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver.status
                with receiver.lock:
                    receiver.tried += 1
                    if status == 200:
                        receiver.requests.append((dict(self.headers), body))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.lock, self.requests, self.status, self.tried = threading.Lock(), [], 200, 0
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/in"

    def messages(self):
        """All messages of batches that were taken."""
        with self.lock:
            return [message for _, body in self.requests for message in json.loads(body)]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
