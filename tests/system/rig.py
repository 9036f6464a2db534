"""What the system tests share: a relay of one's own, a sink, clients, a clock that runs out.

Python's standard library only. Everything listens on loopback, on ports that the system gives out, below one
temporary folder; processes are ended by id. A script that can't run here says why and exits with SKIPPED.
"""

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
SKIPPED = 77


class Failed(Exception):
    """The relay did not do what the test is about."""


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def arguments(doc, seconds):
    """The options that every script has; the first line of its doc says what it is."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=seconds, help=f"give up after this long (default {seconds})")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder: configuration, logs, queue")
    parser.add_argument("--seed", type=int, default=1, help="of everything random (default 1)")
    return parser


def main(run, options):
    """Runs `run(options, folder)` within its time, says how it ended, cleans up, exits."""
    sys.stdout.reconfigure(line_buffering=True)
    binary()
    folder = tempfile.mkdtemp(prefix="waypost-test-")
    os.chmod(folder, 0o755)
    random.seed(options.seed)

    def out_of_time(*_):
        raise Failed(f"not done after {options.seconds} s")

    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(options.seconds)
    status, keep = 0, options.keep
    try:
        run(options, folder)
        print("passed")
    except Failed as error:
        print(f"FAILED: {error}")
        status, keep = 1, True
    except SystemExit as end:
        status = end.code
    except KeyboardInterrupt:
        status = 130
    finally:
        signal.alarm(0)
        for process in list(Process.running):
            process.stop()
    if keep:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.flush()
    os._exit(status)  # daemon threads of sinks and clients need no farewell


def binary():
    path = os.path.abspath(os.environ.get("WAYPOST_BIN", os.path.join(ROOT, "target", "release", "waypost")))
    if not os.access(path, os.X_OK) or os.path.isdir(path):
        skip(f"no program {path}: build it (cargo build --release) or set WAYPOST_BIN")
    return path


def free_port():
    """A port nobody listens on. Taken by us a moment later; on loopback that is good enough."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(what, seconds, true, every=0.02):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return
        time.sleep(every)
    raise Failed(f"{what}: not within {seconds} s")


def listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
        return True
    except OSError:
        return False


def component(name):
    """A shipped plugin's component, or None."""
    path = os.path.join(ROOT, "plugins", "components", f"{name}.wasm")
    return path if os.path.exists(path) else None


class Process:
    """One process of ours, in a group of its own."""

    running = []

    def __init__(self, argv, log):
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        self.argv, self.log = argv, log
        Process.running.append(self)

    def alive(self):
        return self.popen.poll() is None

    def kill(self):
        """At once, without a farewell: what the relay must survive."""
        self.popen.kill()
        self.gone()

    def gone(self, seconds=None):
        status = self.popen.wait(seconds)
        if self in Process.running:
            Process.running.remove(self)
        return status

    def stop(self, seconds=20):
        if self.alive():
            self.popen.terminate()
        try:
            return self.gone(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def last_words(self):
        try:
            with open(self.log, errors="replace") as f:
                return " / ".join(line.strip() for line in f.readlines()[-3:])[-600:]
        except OSError:
            return "no output"


CONFIG = """\
hostname = "relay.test"

[listeners.smtp]
address = "127.0.0.1:{port}"

[relay]
networks = ["127.0.0.0/8"]
domains = ["ours.test"]

[routing]
default = {{ hops = ["smtp://127.0.0.1:{sink}"], tls = "off" }}

[queue]
path = "{spool}"
{queue}

[limits]
connections = 2000
per-client = 2000
{limits}

[smtp]
max-message-size = "64MiB"
{smtp}

[admin]
socket = "{socket}"

[process]
allow-root = true

[retry]
first = "1s"
longest = "2s"

[delivery]
cool-down = "1s"
{plugins}
"""


class Relay:
    """Waypost with a configuration of its own. The port stays the same over restarts."""

    def __init__(self, folder, sink_port, queue="", plugins="", spool=None, smtp="", limits=""):
        self.folder, self.sink_port, self.port = folder, sink_port, free_port()
        self.spool = spool or os.path.join(folder, "spool")
        os.makedirs(self.spool, exist_ok=True)
        self.socket = os.path.join(folder, "admin.sock")
        self.config = os.path.join(folder, "waypost.toml")
        self.log = os.path.join(folder, "waypost.log")
        self.queue, self.smtp, self.limits, self.process = queue, smtp, limits, None
        self.configure(plugins)

    def configure(self, plugins):
        text = CONFIG.format(port=self.port, sink=self.sink_port, spool=self.spool, socket=self.socket,
                             queue=self.queue, plugins=plugins, smtp=self.smtp, limits=self.limits)
        with open(self.config + ".new", "w") as f:
            f.write(text)
        os.rename(self.config + ".new", self.config)

    def start(self, seconds=30):
        begun = time.monotonic()
        self.process = Process([binary(), "run", "--config", self.config], self.log)

        def up():
            if not self.process.alive():
                raise Failed(f"the relay ended with {self.process.popen.returncode}: {self.process.last_words()}")
            return listening(self.port)

        wait_until("the relay listens", seconds, up)
        return time.monotonic() - begun

    def check_alive(self):
        if not self.process.alive():
            raise Failed(f"the relay ended with {self.process.popen.returncode}: {self.process.last_words()}")

    def stop(self):
        return self.process.stop(40)

    def kill(self):
        self.process.kill()

    def signal(self, number):
        os.kill(self.process.popen.pid, number)

    def command(self, *words, check=True):
        """Runs a subcommand; returns (exit status, standard output, standard error)."""
        done = subprocess.run([binary(), *words, "--config", self.config], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)
        if check and done.returncode != 0:
            raise Failed(f"waypost {' '.join(words)}: status {done.returncode}: {done.stderr.strip()[-400:]}")
        return done.returncode, done.stdout, done.stderr

    def status(self):
        return json.loads(self.command("status", "--json")[1])

    def rss(self):
        """Resident memory in KiB."""
        with open(f"/proc/{self.process.popen.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


class Sink:
    """An SMTP server that takes everything, unless told otherwise, and counts each recipient.

    Runs an event loop in a thread of its own. With `keep` the content of each message is kept, by recipient.
    """

    def __init__(self, keep=False, port=0, extensions=()):
        self.extensions = b"".join(b"250-%s\r\n" % one.encode() for one in extensions)
        self.keep, self.refuse = keep, None  # refuse: reply to every RCPT instead of 250
        self.envelopes = {}  # by recipient, with `keep`: MAIL and its RCPT as they came
        self.seen, self.contents, self.lock = {}, {}, threading.Lock()
        self.messages = 0
        ready = threading.Event()
        threading.Thread(target=self._run, args=(port, ready), daemon=True).start()
        if not ready.wait(10):
            raise Failed("the sink did not start")

    def _run(self, port, ready):
        async def serve():
            loop = asyncio.get_running_loop()
            server = await loop.create_server(lambda: SinkSession(self), "127.0.0.1", port, backlog=1024)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await server.serve_forever()
        asyncio.run(serve())

    def answer(self, recipient):
        """The refusal of a recipient, or None."""
        return self.refuse

    def take(self, recipients, content, sender=b"", commands=()):
        with self.lock:
            self.messages += 1
            for recipient, command in zip(recipients, commands or recipients):
                if self.keep:
                    self.envelopes[recipient] = (sender, command)
                self.seen[recipient] = self.seen.get(recipient, 0) + 1
                if self.keep:
                    self.contents[recipient] = content

    def missing(self, wanted):
        with self.lock:
            return [one for one in wanted if one not in self.seen]

    def duplicates(self):
        with self.lock:
            return sum(count - 1 for count in self.seen.values())


class SinkSession(asyncio.Protocol):
    EHLO = b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 0\r\n"

    def __init__(self, sink):
        self.sink, self.buffer, self.data, self.recipients, self.sender = sink, bytearray(), False, [], b""
        self.searched, self.commands = 0, []

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.write(b"220 sink.test ESMTP\r\n")

    def data_received(self, octets):
        self.buffer += octets
        replies = []
        while True:
            reply = self.end_of_data() if self.data else self.command()
            if reply is None:
                break
            replies.append(reply)
        if replies:
            self.transport.write(b"".join(replies))
        if b"221 bye\r\n" in replies:
            self.transport.close()

    def end_of_data(self):
        if self.buffer.startswith(b".\r\n"):
            content, used = b"", 3
        else:
            at = self.buffer.find(b"\r\n.\r\n", max(0, self.searched - 4))
            if at < 0:
                self.searched = len(self.buffer)
                return None
            content, used = bytes(self.buffer[:at + 2]), at + 5
        del self.buffer[:used]
        self.data, self.searched = False, 0
        if self.sink.keep:
            content = re.sub(rb"(\A|\r\n)\.", rb"\1", content)
        self.sink.take(self.recipients, content, self.sender, self.commands)
        self.recipients, self.commands = [], []
        return b"250 2.0.0 taken\r\n"

    def command(self):
        at = self.buffer.find(b"\r\n")
        if at < 0:
            return None
        line = bytes(self.buffer[:at])
        del self.buffer[:at + 2]
        verb = line[:4].upper()
        if verb == b"EHLO":
            return self.EHLO.replace(b"\r\n", b"\r\n" + self.sink.extensions, 1)
        if verb == b"RCPT":
            recipient = line[line.index(b"<") + 1:line.index(b">")].decode("utf-8", "replace")
            refusal = self.sink.answer(recipient)
            if refusal:
                return refusal
            self.recipients.append(recipient)
            self.commands.append(line)
            return b"250 2.1.5 ok\r\n"
        if verb == b"DATA":
            if not self.recipients:
                return b"503 5.5.1 no recipients\r\n"
            self.data = True
            return b"354 go on\r\n"
        if verb == b"QUIT":
            return b"221 bye\r\n"
        if verb in (b"MAIL", b"RSET"):
            self.recipients, self.commands, self.sender = [], [], line
        return b"250 2.0.0 ok\r\n"


class Client:
    """A pipelining SMTP client that knows exactly what was acknowledged."""

    def __init__(self, port, timeout=60):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lines = self.socket.makefile("rb")
        self.expect(b"2")
        self.socket.sendall(b"EHLO client.test\r\n")
        self.extensions = self.expect(b"2")

    def reply(self):
        """One whole reply: its lines without line ends."""
        lines = []
        while True:
            line = self.lines.readline()
            if not line.endswith(b"\n"):
                raise ConnectionError("connection closed")
            lines.append(line.rstrip(b"\r\n"))
            if line[3:4] != b"-":
                return lines

    def expect(self, digit):
        lines = self.reply()
        if not lines[-1].startswith(digit):
            raise Refused(lines[-1].decode(errors="replace"))
        return lines

    def send(self, sender, recipients, content, params=""):
        """One transaction. Returns the final reply's text; raises Refused for the first reply that is no success."""
        envelope = f"MAIL FROM:<{sender}>{params}\r\n"
        envelope += "".join(f"RCPT TO:<{r}>\r\n" for r in recipients) + "DATA\r\n"
        self.socket.sendall(envelope.encode())
        replies = [self.reply()[-1] for _ in range(len(recipients) + 2)]
        if not replies[-1].startswith(b"3"):
            self.socket.sendall(b"RSET\r\n")
            self.reply()
            raise Refused(next(r for r in replies if r[:1] in b"45").decode(errors="replace"))
        self.socket.sendall(stuffed(content))
        final = self.expect(b"2")[-1].decode(errors="replace")
        bad = [r for r in replies[:-1] if not r.startswith(b"2")]
        if bad:
            raise Refused(bad[0].decode(errors="replace"))
        return final

    def quit(self):
        try:
            self.socket.sendall(b"QUIT\r\n")
            self.reply()
        except OSError:
            pass
        self.socket.close()


class Refused(Exception):
    """A reply that was no success."""


def stuffed(content):
    """Mail data as it goes over the wire: transparency (RFC 5321 section 4.5.2) and the final dot."""
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    return re.sub(rb"(\A|\r\n)\.", rb"\1..", content) + b".\r\n"


class Load:
    """Clients that send until told to stop, and know which recipients were acknowledged."""

    def __init__(self, port, clients, size, per_connection=20, name="a", patient=False):
        self.port, self.size, self.per_connection, self.name = port, size, per_connection, name
        self.patient = patient  # connections may fail: the relay is being killed
        self.acknowledged, self.unanswered, self.refused, self.failed = [], [], [], []
        self.lock, self.over = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self._work, args=(n,), daemon=True) for n in range(clients)]
        for thread in self.threads:
            thread.start()

    def _work(self, number):
        count = 0
        body = (b"0123456789" * 7 + b"\r\n") * (self.size // 72 + 1)
        while not self.over.is_set():
            recipient = None
            try:
                client = Client(self.port)
                for _ in range(self.per_connection):
                    if self.over.is_set():
                        break
                    count += 1
                    recipient = f"{self.name}{number}.{count}@sink.test"
                    head = f"From: <s@client.test>\r\nTo: <{recipient}>\r\nSubject: load {number}.{count}\r\n\r\n".encode()
                    client.send("s@client.test", [recipient], head + body)
                    with self.lock:
                        self.acknowledged.append(recipient)
                    recipient = None
                client.quit()
            except Refused as reply:
                with self.lock:
                    self.refused.append(str(reply))
                time.sleep(0.01)
            except OSError as error:
                with self.lock:
                    if recipient:
                        self.unanswered.append(recipient)
                    if not self.patient:
                        self.failed.append(str(error) or type(error).__name__)
                time.sleep(0.02)

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(90)

    def count(self):
        with self.lock:
            return len(self.acknowledged)


def arrived(sink, wanted, seconds, alive=lambda: None):
    """Waits until the sink has every recipient of `wanted`; says what is missing otherwise."""
    end = time.monotonic() + seconds
    while True:
        missing = sink.missing(wanted)
        if not missing:
            return
        alive()
        if time.monotonic() > end:
            raise Failed(f"{len(missing)} of {len(wanted)} acknowledged recipients never came, e.g. {missing[:5]}")
        time.sleep(0.2)


def find(document, key):
    """The first value of `key` anywhere in a JSON document."""
    if isinstance(document, dict):
        if key in document:
            return document[key]
        document = list(document.values())
    if isinstance(document, list):
        for part in document:
            found = find(part, key)
            if found is not None:
                return found
    return None
