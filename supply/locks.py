"""The locks, read and written anew: `make lock` (docs/supply.md)."""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNTIME, DEVELOPMENT, TOOLS = "requirements.lock", "requirements-dev.lock", "requirements-tools.lock"
TORCH, TORCH_CPU = "requirements-torch.lock", "requirements-torch-cpu.lock"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
ONLY_WITH_TORCH = re.compile(r"torch|triton|nvidia-.+|cuda-.+")

PLAIN = [
    *("--quiet", "--allow-unsafe", "--strip-extras", "--no-header", "--no-annotate"),
    *("--no-emit-index-url", "--no-emit-trusted-host", "--no-emit-find-links"),
]
HEADERS = {
    RUNTIME: """
# Everything that echosynth needs to run but torch, for Python 3.11 and later.
# `make lock` writes this file, `make setup` installs it.
""",
    DEVELOPMENT: """
# What only the tests, the linter and differential privacy (echosynth[dp]) need on top of requirements.lock.
# `make lock` writes this file, `make setup` installs it.
""",
    TORCH: """
# The default build of torch and, on Linux, the CUDA libraries that it asks for. What else it needs: requirements.lock.
# `make setup` installs this where there is a GPU or no CPU build (requirements-torch-cpu.lock).
# `make lock` writes this file.
""",
    TOOLS: """
# What `make lock`, `make sbom` and `make pip-audit` run, in an environment of its own.
# `make lock` writes this file.
""",
}


def read_lock(path: Path) -> dict[str, tuple[str, list[str]]]:
    """The packages of a lock.

    Args:
        path: the lock, as pip-compile writes it: a pinned line a package, its hashes indented below.

    Returns:
        name -> (version, SHA-256 hashes of all files of that version).
    """
    blocks = _blocks(path.read_text())
    return {name: (PIN.match(block)[2], HASH.findall(block)) for name, block in blocks.items()}


def main(options: list[str]) -> None:
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    if "{}.{}".format(*sys.version_info) != oldest:  # later ones need no backports, which the lock must hold
        sys.exit(f"make lock: runs on Python {oldest} alone: make clean, then make lock PYTHON=python{oldest}")
    pinned = "".join((ROOT / name).read_text() for name in (RUNTIME, DEVELOPMENT, TORCH))
    everything = _resolve("pyproject.toml", pinned, ["--extra", "dev", "--generate-hashes", *options])
    runtime = _resolve("pyproject.toml", "\n".join(everything.values()), []).keys()
    tools = _resolve("supply/tools.in", (ROOT / TOOLS).read_text(), ["--generate-hashes", *options])
    torch = {name for name in runtime if ONLY_WITH_TORCH.fullmatch(name)}
    _write(RUNTIME, {name: everything[name] for name in runtime - torch})
    _write(DEVELOPMENT, {name: everything[name] for name in everything.keys() - runtime})
    _write(TORCH, {name: everything[name] if name == "torch" else _on_linux(everything[name]) for name in torch})
    _write(TOOLS, tools)
    version, cpu = read_lock(ROOT / TORCH)["torch"][0], read_lock(ROOT / TORCH_CPU)["torch"][0]
    if cpu != f"{version}+cpu":
        sys.exit(f"{TORCH_CPU}: pins {cpu}, but {TORCH} now {version}; renew it by hand, as its first lines say")


def _resolve(source: str, pinned: str, options: list[str]) -> dict[str, str]:
    """Each package that `source` needs, as pip-compile writes it; `pinned` versions are kept where they fit."""
    with tempfile.TemporaryDirectory() as folder:
        resolved = Path(folder) / "resolved.txt"
        resolved.write_text(pinned)
        command = [sys.executable, "-m", "piptools", "compile", *PLAIN, *options, "-o", str(resolved), source]
        if subprocess.run(command, cwd=ROOT, env=_environment()).returncode:
            sys.exit(f"make lock: pip-compile could not resolve {source}; the locks are as they were")
        return _blocks(resolved.read_text())


def _environment() -> dict[str, str]:
    """The environment without the package settings of this machine, which must not show in a lock."""
    machine = ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT")
    return {name: value for name, value in os.environ.items() if name not in machine} | {"PIP_CONFIG_FILE": os.devnull}


def _blocks(text: str) -> dict[str, str]:
    """The lines of each package, from its pin to its last hash."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if pin := PIN.match(line):
            lines = found.setdefault(pin[1], [])
        if pin or line.startswith(" "):
            lines.append(line)
    return {name: "\n".join(lines) for name, lines in found.items()}


def _on_linux(block: str) -> str:
    return PIN.sub(r'\g<0> ; platform_system == "Linux"', block, count=1)


def _write(lock: str, blocks: dict[str, str]) -> None:
    packages = "\n".join(blocks[name] for name in sorted(blocks))
    (ROOT / lock).write_text(f"{HEADERS[lock].lstrip()}{packages}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
