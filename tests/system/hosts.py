"""Mail hosts with certificates, and a clock that a test can move: what the tests of TLS on the way out stand on.

Python's standard library, openssl for the certificates, and a C compiler for the clock.
"""

import mmap
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time

import rig

CLOCK = r"""
/* Moves the wall clock of the program that it is loaded into, by as many seconds as a file says. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offset;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("MOVED_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *seen = mmap(NULL, 8, PROT_READ, MAP_SHARED, file, 0);
    if (seen != MAP_FAILED) offset = seen;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int done = syscall(SYS_clock_gettime, clock, now);
    if (done == 0 && clock == CLOCK_REALTIME && offset) now->tv_sec += *offset;
    return done;
}
"""


class Clock:
    """The wall clock of the processes that have `environment`, so many seconds ahead of the real one."""

    def __init__(self, folder):
        compiler = shutil.which("cc") or shutil.which("gcc")
        if not compiler:
            rig.skip("no C compiler to make a clock with")
        source, library, path = (os.path.join(folder, name) for name in ("clock.c", "clock.so", "clock"))
        with open(source, "w") as f:
            f.write(CLOCK)
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source], check=True, capture_output=True)
        with open(path, "wb") as f:
            f.write(bytes(8))
        self.file = open(path, "r+b")
        self.seen = mmap.mmap(self.file.fileno(), 8)
        self.environment = {"LD_PRELOAD": library, "MOVED_CLOCK": path}

    def now(self):
        return time.time() + struct.unpack("=q", self.seen[:8])[0]

    def set(self, seconds):
        """It is so many seconds after 1970 now."""
        self.seen[:8] = struct.pack("=q", int(seconds - time.time()))

    def advance(self, seconds):
        self.set(self.now() + seconds)


class Authority:
    """Signs certificates that the relay believes, and others."""

    def __init__(self, folder, name="ca"):
        if not shutil.which("openssl"):
            rig.skip("no openssl to make certificates with")
        self.folder, self.name, self.made = folder, name, 0
        self.path = os.path.join(folder, f"{name}.pem")
        self.openssl("req", "-x509", *self.key(name), "-out", f"{name}.pem", "-subj", f"/CN={name}", "-days", "30")

    @staticmethod
    def key(name):
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")

    def openssl(self, *words):
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)

    def context(self, *names, days=30):
        """TLS of a server with these names."""
        self.made += 1
        own = f"{self.name}-{self.made}"
        with open(os.path.join(self.folder, f"{own}.names"), "w") as f:
            f.write("subjectAltName=" + ",".join(f"DNS:{name}" for name in names) + "\n")
        self.openssl("req", *self.key(own), "-out", f"{own}.csr", "-subj", f"/CN={names[0]}")
        self.openssl("x509", "-req", "-in", f"{own}.csr", "-CA", f"{self.name}.pem", "-CAkey", f"{self.name}.key",
                     "-CAcreateserial", "-out", f"{own}.pem", "-days", str(days), "-extfile", f"{own}.names")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(self.folder, f"{own}.pem"), os.path.join(self.folder, f"{own}.key"))
        return context


class Message:
    """One that a host took."""

    def __init__(self, peer, secure, recipients, content):
        self.peer, self.secure, self.recipients, self.content = peer, secure, recipients, content


class Host:
    """An SMTP server on port 25 of an address, with STARTTLS if there is a context for it. Takes everything.

    Made by a thread that is in another network, it is there.
    """

    def __init__(self, address, context=None, port=25):
        self.address, self.context = address, context
        self.messages, self.greetings, self.lock = [], set(), threading.Lock()
        self.sessions, self.handshakes = 0, 0
        self.socket = socket.create_server((address, port), backlog=64)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, peer = self.socket.accept()
            threading.Thread(target=self.converse, args=(connection, peer), daemon=True).start()

    def converse(self, connection, peer):
        with self.lock:
            self.sessions += 1
        try:
            self.talk(connection, peer[0])
        except (OSError, ValueError):
            pass  # the client went: what it did not like is in its own words

    def talk(self, connection, peer):
        connection.settimeout(60)
        connection.sendall(b"220 host.test ESMTP\r\n")
        lines, secure, recipients = connection.makefile("rb"), False, []
        while line := lines.readline():
            verb, reply = line[:4].upper(), b"250 2.0.0 ok\r\n"
            if verb == b"EHLO":
                self.greetings.add(line[5:].strip())
                offer = b"250-STARTTLS\r\n" if self.context and not secure else b""
                reply = b"250-host.test\r\n" + offer + b"250 8BITMIME\r\n"
            elif verb == b"STAR":
                connection.sendall(b"220 2.0.0 go on\r\n")
                with self.lock:
                    self.handshakes += 1
                connection = self.context.wrap_socket(connection, server_side=True)
                lines, secure = connection.makefile("rb"), True
                continue
            elif verb == b"RCPT":
                recipients.append(line[line.index(b"<") + 1:line.index(b">")].decode())
            elif verb == b"DATA":
                connection.sendall(b"354 go on\r\n")
                content = b""
                while (line := lines.readline()) not in (b".\r\n", b""):
                    content += line[1:] if line.startswith(b".") else line
                with self.lock:
                    self.messages.append(Message(peer, secure, recipients, content))
                recipients = []
            elif verb == b"QUIT":
                connection.sendall(b"221 2.0.0 bye\r\n")
                return
            connection.sendall(reply)

    def got(self, recipient):
        """The messages for one, as far as they came."""
        with self.lock:
            return [message for message in self.messages if recipient in message.recipients]


class Relay(rig.Relay):
    """Waypost that finds its way by the DNS, with a clock that can be moved."""

    def __init__(self, folder, clock=None, settings="", delivery="", route='"mx"'):
        self.clock, self.settings, self.delivery, self.route = clock, settings, delivery, route
        super().__init__(folder, 1)

    def configure(self, plugins):
        super().configure(plugins)
        with open(self.config) as f:
            text = f.read()
        text = re.sub(r"(?m)^default = .*$", f"default = {self.route}", text)
        text = text.replace('first = "1s"\nlongest = "2s"', 'first = "2h"\nlongest = "2h"')
        text = text.replace('cool-down = "1s"\n', f'cool-down = "1s"\n{self.delivery}\n') + self.settings
        with open(self.config, "w") as f:
            f.write(text)

    def start(self, seconds=60):
        before = dict(os.environ)
        os.environ.update(self.clock.environment if self.clock else {})
        try:
            return super().start(seconds)
        finally:
            os.environ.clear()
            os.environ.update(before)

    def send(self, recipient, subject="hello", field=""):
        client = rig.Client(self.port)
        content = f"From: <s@client.test>\r\nTo: <{recipient}>\r\nSubject: {subject}\r\n{field}\r\nhello\r\n"
        client.send("s@client.test", [recipient], content.encode())
        client.quit()

    def reason(self, recipient):
        """What the queue says of a message for one recipient that was tried."""
        return self.command("queue", "list", "--recipient", recipient)[1]
