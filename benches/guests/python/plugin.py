"""The same as ../rust, in Python."""

from wit_world import exports
from wit_world.imports import system, types


class OnMail(exports.OnMail):
    def handle(self, sender):
        total = sum(system.now().seconds for _ in range(100))
        return types.SessionVerdict_Proceed() if total > 0 else types.SessionVerdict_Accept()


class OnRcpt(exports.OnRcpt):
    def handle(self, candidate):
        if candidate.mailbox.local_part.startswith("blocked"):
            status = types.EnhancedStatus(5, 7, 1)
            return types.SessionVerdict_Reject(types.Reply(550, status, ["blocked"]))
        return types.SessionVerdict_Proceed()
