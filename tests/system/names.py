"""A network of a test's own, with a name server that answers from a table: what the relay looks up is ours.

Python's standard library only. It takes root; without, a test leaves out what needs it.
"""

import ctypes
import os
import socket
import struct
import subprocess
import threading
from pathlib import Path

import rig

CLONE_NEWNS, CLONE_NEWNET, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 0x40000000, 4096, 16384, 1 << 18


def own_network(folder):
    """A network of this test's own: loopback, and whatever addresses a client has; its resolver is ours."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(CLONE_NEWNS | CLONE_NEWNET) != 0:
        rig.skip("it takes root, and a network namespace")
    resolver = os.path.join(folder, "resolv.conf")
    Path(resolver).write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    here = os.path.realpath("/etc/resolv.conf").encode()
    libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    if libc.mount(resolver.encode(), here, None, MS_BIND, None) != 0:
        rig.skip("/etc/resolv.conf can't be replaced for this test alone")
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        rig.skip(f"no loopback of its own: {error}")


def have(address):
    """The address is one of this machine's from now on."""
    subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], capture_output=True)


class Dns:
    """A name server on port 53 that answers from a table, as the test kit's does."""

    TYPES = {"A": 1, "NS": 2, "CNAME": 5, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}

    def __init__(self, ttl=60):
        self.table, self.ttl = {}, ttl
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            request, peer = self.socket.recvfrom(4096)
            answer = self.answer(request)
            if answer:
                self.socket.sendto(answer, peer)

    @staticmethod
    def name(text):
        labels = [label for label in text.rstrip(".").split(".") if label]
        return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"

    def data(self, kind, text):
        if kind == "A":
            return socket.inet_pton(socket.AF_INET, text)
        if kind == "AAAA":
            return socket.inet_pton(socket.AF_INET6, text)
        if kind == "MX":
            preference, host = text.split()
            return struct.pack("!H", int(preference)) + self.name(host)
        if kind == "TXT":
            octets = text.encode()
            return b"".join(bytes([len(octets[at:at + 255])]) + octets[at:at + 255] for at in range(0, len(octets), 255))
        return self.name(text)

    def answer(self, request):
        at, labels = 12, []
        while request[at]:
            labels.append(request[at + 1:at + 1 + request[at]].decode().lower())
            at += 1 + request[at]
        wanted = struct.unpack("!H", request[at + 1:at + 3])[0]
        question = request[12:at + 5]
        records = self.table.get(".".join(labels))
        if records and "SILENCE" in records:
            return None
        code = 3 if records is None else 2 if "SERVFAIL" in records else 0
        answers = b""
        count = 0
        for record in records or []:
            kind, _, text = record.partition(" ")
            if code == 0 and self.TYPES.get(kind) == wanted:
                data = self.data(kind, text)
                answers += b"\xc0\x0c" + struct.pack("!HHIH", wanted, 1, self.ttl, len(data)) + data
                count += 1
        head = request[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, count, 0, 0)
        return head + question + answers
