"""Two hundred messages of all kinds that real mail has, the same ones for the same seed."""

import base64
import random
from email import policy
from email.message import EmailMessage

CRLF = b"\r\n"


class Mail:
    """What is sent: content as the client hands it over, reverse-path, MAIL parameters, one or more recipients."""

    def __init__(self, kind, content, sender="sender@client.test", params="", local="m", recipients=1):
        self.kind, self.content, self.sender, self.params = kind, content, sender, params
        self.local, self.recipients = local, recipients


def head(subject="a test", *more):
    lines = [b"From: Ann <ann@client.test>", b"To: Bob <bob@rcpt.test>", b"Subject: " + subject.encode(),
             b"Date: Mon, 23 Nov 2026 10:00:00 +0000", b"Message-ID: <1@client.test>", *more]
    return CRLF.join(lines) + CRLF


def plain(subject, body, *more):
    return head(subject, *more) + CRLF + body


def text(rng, octets):
    words = ["relay", "envelope", "queue", "octet", "the", "of", "mail", "and", "next", "hop"]
    out = bytearray()
    while len(out) < octets:
        line = " ".join(rng.choice(words) for _ in range(rng.randrange(3, 13)))
        out += line.encode() + CRLF
    return bytes(out)


def dots(rng):
    starts = [b".", b"..", b"...", b".x", b"", b". ", b"x.", b".\t", b"..x"]
    return CRLF.join(rng.choice(starts) + rng.choice([b"", b"dot", b"."]) for _ in range(rng.randrange(1, 400))) + CRLF


def eight_bit(rng):
    """Latin-1, UTF-8, or octets that are neither; no NUL, no bare CR or LF."""
    kind = rng.randrange(3)
    if kind == 0:
        return "Grüße aus Köln, à bientôt\r\n".encode("latin-1") * rng.randrange(1, 200)
    if kind == 1:
        return "Grüße, привет, 你好, 🙂, e\u0301\r\n".encode() * rng.randrange(1, 200)
    octets = bytes(o for o in range(1, 256) if o not in (10, 13))
    return b"".join(bytes(rng.choices(octets, k=rng.randrange(0, 200))) + CRLF for _ in range(rng.randrange(1, 100)))


def long_lines(rng):
    lengths = [998, 999, 1000, 1001, 2047, 2048, 2049, 4096, 8191, 8192, 16384, 65535, 65536, 100_000]
    return b"".join(bytes([65 + n % 26]) * n + CRLF for n in rng.sample(lengths, rng.randrange(1, 6)))


def attachment(rng, octets):
    message = EmailMessage(policy=policy.SMTP)
    message["From"], message["To"], message["Subject"] = "ann@client.test", "bob@rcpt.test", "Bericht für März"
    message["Message-ID"] = "<2@client.test>"
    message.set_content("Siehe Anhang. Grüße!\n")
    message.add_alternative("<p>Siehe Anhang. <b>Grüße!</b></p>\n", subtype="html")
    message.add_attachment(rng.randbytes(octets), maintype="application", subtype="octet-stream", filename="Übersicht.bin")
    message.set_boundary("=_b1")
    return message.as_bytes()


def headers(rng):
    """Header sections that are legal and seldom seen, and some that are not and seen all the same."""
    odd = [
        [b"X-Folded: one", b" two", b"\tthree", b"  four"],
        [b"X-Long: " + b"word " * 199 + b"end"],
        [b"X-Many-%d: %d" % (n, n) for n in range(200)],
        [b"X-Empty:", b"X-Space: ", b"X-Tab:\t", b"X-NoSpace:value"],
        [b"Received: from a.test by b.test; Mon, 23 Nov 2026 09:0%d:00 +0000" % n for n in range(4)],
        [b"subject: a second, in lower case", b"SUBJECT: and a third"],
        [b"X-Trailing: spaces at the end   ", b"X-Inner:  two  spaces  "],
        ["X-UTF8: Grüße, 你好 🙂".encode(), "Comments: naïve café".encode()],
        ["X-Latin: Grüße".encode("latin-1")],
        [b"Subject: =?utf-8?B?" + base64.b64encode("Grüße".encode()) + b"?= =?iso-8859-1?Q?M=E4rz?="],
        [b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=client.test; s=x;", b"\tbh=AAAA=;", b"\tb=BBBB", b"\t CCCC="],
        [b"X-Folded-Long: " + b"x" * 900, b" " + b"y" * 900, b" " + b"z" * 900],
    ]
    return plain("headers", text(rng, rng.randrange(0, 3000)), *rng.choice(odd))


def edges(rng, octets):
    """A dot at the start of a line just before, at or after a buffer's likely end."""
    before = octets - rng.randrange(-2, 8)
    start = plain("edges", b"")
    fill = (b"x" * 62 + CRLF) * ((before - len(start)) // 64)
    rest = max(0, before - len(start) - len(fill) - 2)
    return start + fill + b"y" * rest + CRLF + b".dot" + CRLF + b".." + CRLF + text(rng, rng.randrange(10, 3000))


def bare(rng):
    """Contents that lack something."""
    return rng.choice([
        head() + CRLF,                                   # empty body
        head(),                                          # no separator
        CRLF + b"no header at all" + CRLF,
        head() + CRLF + CRLF + CRLF,                     # nothing but empty lines
        head() + CRLF + b"." + CRLF,                     # a dot alone
        head() + CRLF + b"no line end at the end",
        head() + CRLF + b"one" + CRLF + CRLF + CRLF,     # trailing empty lines stay
        head() + CRLF + b" \t " + CRLF + b"\t" + CRLF,
    ])


def smtputf8(rng):
    content = plain("Grüße", "Grüße, 你好\r\n".encode(), "X-Кириллица-нет: привет".encode().replace(
        "X-Кириллица-нет".encode(), b"X-Value"))
    return Mail("smtputf8", content, rng.choice(["jürgen@client.test", "sender@client.test"]),
                " SMTPUTF8 BODY=8BITMIME", "почта", 1)


def corpus(seed, count):
    """`count` messages; one of 20 MB and a few of some megabytes among them."""
    rng = random.Random(seed)
    mails = [Mail("20 MB", attachment(rng, 15 << 20), params=" BODY=8BITMIME"),
             Mail("empty content", b""),
             Mail("null sender", plain("a report", text(rng, 500)), sender="")]
    eight = " BODY=8BITMIME"
    makers = [
        lambda: Mail("plain", plain("plain", text(rng, rng.randrange(1, 20_000)))),
        lambda: Mail("8-bit", plain("8-bit", eight_bit(rng), b"Content-Transfer-Encoding: 8bit"), params=eight),
        lambda: Mail("dots", plain("dots", dots(rng))),
        lambda: Mail("long lines", plain("long", long_lines(rng))),
        lambda: Mail("attachment", attachment(rng, rng.choice([10, 1000, 100_000, 2_000_000])), params=eight),
        lambda: Mail("headers", headers(rng), params=eight),
        lambda: Mail("buffer edges", edges(rng, rng.choice([4096, 8192, 16384, 32768, 65536, 131072, 262144, 1 << 20]))),
        lambda: Mail("bare", bare(rng)),
        lambda: smtputf8(rng),
        lambda: Mail("several recipients", plain("several", text(rng, 3000)), recipients=rng.randrange(2, 12)),
    ]
    while len(mails) < count:
        mails.append(makers[len(mails) % len(makers)]())
    return mails[:count]
