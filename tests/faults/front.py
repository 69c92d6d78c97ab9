"""A TLS front door of a plain server."""

import contextlib
import socket
import ssl
import threading
import time


class TlsFront:
    """A TLS front door of a plain server, on a loopback port of its own; counts what clients said to it, decrypted."""

    def __init__(self, server, certificate, *, slow=0.0, clients=None, newest=None):
        self._slow, self._clients, self._newest = slow, clients, newest
        self.present(certificate)
        self._inside = []
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.said = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def present(self, certificate):
        """Show this certificate from now on; ``clients`` is the authority of those who are let in."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(context)
        if self._clients is not None:
            self._clients.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        if self._newest is not None:
            context.minimum_version, context.maximum_version = min(self._newest, context.minimum_version), self._newest
            context.set_ciphers("ALL:@SECLEVEL=0")
        self._context = context

    def cut(self):
        """End every connection, so that the next call makes a new one."""
        while self._inside:
            with contextlib.suppress(OSError):
                self._inside.pop().shutdown(socket.SHUT_RDWR)

    def _accept(self):
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain):
        try:
            client = self._context.wrap_socket(plain, server_side=True)
        except OSError:
            return plain.close()
        behind = socket.create_connection(("127.0.0.1", self._server.port))
        self._inside.append(client)
        threading.Thread(target=self._pump, args=(behind, client), daemon=True).start()
        return self._pump(client, behind, count=True)

    def _pump(self, source, sink, *, count=False):
        try:
            while data := source.recv(65536):
                self.said += len(data) if count else 0
                sink.sendall(data)
        except OSError:
            pass
        finally:
            time.sleep(self._slow if count else 0)
            source.close()
            sink.close()

    def close(self):
        self._listener.close()
