"""{{name}}: a Waypost plugin. Each hook is a class named after its interface; see wit/deps/waypost-plugin.
{{#rcpt}}

The operator lists mailboxes that nobody reads, and mail to them is refused at RCPT.
{{/}}

A method that raises `componentize_py_types.Err("why")` has failed; `in_words` makes one of every other exception.
"""

import functools

{{#rcpt}}
import json
{{/}}

from componentize_py_types import Err
from wit_world import exports
{{#rcpt}}
from wit_world.imports import config, log
{{/}}
{{#delivery-attempt}}
from wit_world.imports.deliveries import AttemptVerdict_Proceed
{{/}}
{{#bounce}}
from wit_world.imports.deliveries import BounceVerdict_Proceed
{{/}}
{{#route}}
from wit_world.imports.routing import RoutingVerdict_Proceed
{{/}}
{{#message}}
from wit_world.imports.types import MessageVerdict_Proceed
{{/}}
{{#connect helo mail rcpt}}
from wit_world.imports.types import SessionVerdict_Proceed
{{/}}
{{#rcpt}}
from wit_world.imports.types import EnhancedStatus, Reply, SessionVerdict_Reject
{{/}}


def in_words(handle):
    """What goes wrong in a hook becomes the plugin's failure, with words: an exception of Python's own would be a trap."""

    @functools.wraps(handle)
    def wrapped(self, *arguments):
        try:
            return handle(self, *arguments)
        except Exception as error:
            why = error.value if isinstance(error, Err) else error
            raise Err(why if isinstance(why, str) else f"{type(why).__name__}: {why}") from None

    return wrapped
{{#rcpt}}


# An instance serves many calls: the operator's table is read at the first of them.
_unread: set[str] | None = None


def is_unread(local_part: str) -> bool:
    global _unread
    if _unread is None:
        _unread = {name.lower() for name in json.loads(config.document()).get("unread", [])}
    return local_part.lower() in _unread
{{/}}
{{#connect}}


class OnConnect(exports.OnConnect):
    """After accept, before the banner."""

    @in_words
    def handle(self):
        return SessionVerdict_Proceed()
{{/}}
{{#helo}}


class OnHelo(exports.OnHelo):
    """HELO or EHLO, with its argument."""

    @in_words
    def handle(self, name):
        return SessionVerdict_Proceed()
{{/}}
{{#auth}}


class OnAuth(exports.OnAuth):
    """A client offers proof of who it is."""

    @in_words
    def handle(self, attempt):
        return exports.on_auth.AuthVerdict_Proceed()
{{/}}
{{#mail}}


class OnMail(exports.OnMail):
    """MAIL; the null sender is None."""

    @in_words
    def handle(self, sender):
        return SessionVerdict_Proceed()
{{/}}
{{#rcpt}}


class OnRcpt(exports.OnRcpt):
    """Each RCPT."""

    @in_words
    def handle(self, candidate):
        local_part = candidate.mailbox.local_part
        if not is_unread(local_part):
            return SessionVerdict_Proceed()
        log.write(log.Level.INFO, f"refused {local_part}", [])
        return SessionVerdict_Reject(Reply(550, EnhancedStatus(5, 7, 1), ["nobody reads that mailbox"]))
{{/}}
{{#message}}


class OnMessage(exports.OnMessage):
    """After the end of the data; context.current_message() is the message."""

    @in_words
    def handle(self):
        return MessageVerdict_Proceed()
{{/}}
{{#route}}


class OnRoute(exports.OnRoute):
    """Where recipients go that no earlier plugin has assigned."""

    @in_words
    def handle(self, phase, recipients):
        return RoutingVerdict_Proceed()
{{/}}
{{#delivery-attempt}}


class OnDeliveryAttempt(exports.OnDeliveryAttempt):
    """Before a connection is chosen."""

    @in_words
    def handle(self):
        return AttemptVerdict_Proceed()
{{/}}
{{#delivery-result}}


class OnDeliveryResult(exports.OnDeliveryResult):
    """After an attempt; recipients not answered for are left to the relay."""

    @in_words
    def handle(self, outcomes):
        return []
{{/}}
{{#bounce}}


class OnBounce(exports.OnBounce):
    """Before a bounce is made."""

    @in_words
    def handle(self, failed):
        return BounceVerdict_Proceed()
{{/}}
