"""A mail server of the tests' own: it keeps what it takes, and answers or hangs up as it is told (RFC 5321)."""

import socketserver
import threading

HANG_UP = ""
USUAL = {
    "EHLO": "250 sink", "MAIL": "250 fine", "RCPT": "250 fine", "DATA": "354 go on", ".": "250 taken",
    "RSET": "250 fine", "QUIT": "221 bye",
}  # fmt: skip


class Session(socketserver.StreamRequestHandler):
    server: "Sink"

    def handle(self):
        self.say("220 sink")
        recipients = []
        while line := self.rfile.readline():
            verb = line.decode().split()[0].upper()
            if verb == "RCPT":
                recipients.append(line.decode().partition(":")[2].strip().strip("<>"))
            if not self.answer(verb):
                return
            if verb == "DATA" and self.server.answers["DATA"].startswith("354"):
                text = self.text()
                taken = self.server.answers["."]
                if taken.startswith("250") or taken == HANG_UP:
                    self.server.taken.append((recipients, text))
                if not self.answer("."):
                    return

    def answer(self, verb):
        """Whether the session goes on."""
        said = self.server.answers[verb]
        if said == HANG_UP:
            return False
        self.say(said)
        return verb != "QUIT"

    def text(self):
        lines = iter(self.rfile.readline, b".\r\n")
        return b"".join(line[1:] if line.startswith(b".") else line for line in lines)

    def say(self, line):
        self.wfile.write(line.encode() + b"\r\n")


class Sink(socketserver.ThreadingTCPServer):
    """`answers` by verb, where "." is the end of the text; `taken` are (recipients, text)."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Session)
        self.answers = dict(USUAL)
        self.taken = []
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]

    def close(self):
        self.shutdown()
        self.server_close()
