"""A Postfix of one's own: Debian's program, with configuration, queue and data folders below a test's folder.

Needs root; the system's instance is not touched.
"""

import os
import shutil
import subprocess

import rig

MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
"""

# No limits below ours, no rewriting, no line breaking: whatever differs afterwards is then the relay's doing.
MAIN = """\
compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
maillog_file = {dir}/maillog
maillog_file_prefixes = {dir}
myhostname = postfix.test
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{sink}
smtp_host_lookup = native
smtp_tls_security_level = none
smtpd_tls_security_level = none
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
local_header_rewrite_clients =
always_add_missing_headers = no
message_size_limit = 0
mailbox_size_limit = 0
header_size_limit = 10240000
smtp_line_length_limit = 0
smtputf8_enable = yes
"""


class Postfix:
    """An instance of our own; mail for anybody goes to `sink_port`. `more` is appended to main.cf, `{dir}` in it filled in."""

    def __init__(self, folder, sink_port, more=""):
        self.port = rig.free_port()
        self.folder = os.path.join(folder, "postfix")
        for name in ("etc", "queue", "data"):
            os.makedirs(os.path.join(self.folder, name))
        shutil.chown(os.path.join(self.folder, "data"), "postfix")
        main = (MAIN + more).format(dir=self.folder, sink=sink_port)
        for name, text in (("main.cf", main), ("master.cf", MASTER.format(port=self.port))):
            with open(os.path.join(self.folder, "etc", name), "w") as f:
                f.write(text)
        etc = os.path.join(self.folder, "etc")
        self.process = rig.Process(["postfix", "-c", etc, "start-fg"], os.path.join(self.folder, "output.log"))
        rig.wait_until("Postfix listens", 30, lambda: rig.listening(self.port))
        with open(os.path.join(self.folder, "queue", "pid", "master.pid")) as f:
            self.master = int(f.read())

    def log(self):
        with open(os.path.join(self.folder, "maillog"), errors="replace") as f:
            return f.read()

    def stop(self):
        subprocess.run(["postfix", "-c", os.path.join(self.folder, "etc"), "stop"], capture_output=True)
        self.process.stop()


def check():
    """Skips the test where there can't be one."""
    if not shutil.which("postfix"):
        rig.skip("no postfix here: apt-get install postfix")
    if os.geteuid() != 0:
        rig.skip("Postfix's master needs root")
