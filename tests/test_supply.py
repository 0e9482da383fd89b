"""The supply chain: everything that is installed is pinned by hash, and importing echosynth asks no network."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = sorted(path.name for path in ROOT.glob("requirements*.lock"))
LINE = re.compile(r'([a-z0-9-]+)==([a-z0-9.+]+)( ; platform_system == "Linux")?( --hash=sha256:[0-9a-f]{64})+')
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TORCH = "requirements-torch.lock", "requirements-torch-cpu.lock"


def lines(name: str) -> list[str]:
    """A lock's lines without comments, those that end with a backslash joined to the next."""
    text = "\n".join(line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#"))
    return [" ".join(line.split()) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def versions(*names: str) -> dict[str, str]:
    return {match[1]: match[2] for name in names for line in lines(name) if (match := LINE.fullmatch(line))}


def lacking(requirements: list[str], locked: dict[str, str]) -> list[str]:
    """The requirements for this machine that no locked version fulfils."""
    wanted = [Requirement(one) for one in requirements]
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    pinned = {str(one): locked.get(canonicalize_name(one.name)) for one in wanted}
    return [str(one) for one in wanted if not pinned[str(one)] or pinned[str(one)] not in one.specifier]


def test_there_is_a_lock_for_each_use():
    assert set(LOCKS) == {"requirements.lock", "requirements-dev.lock", "requirements-tools.lock", *TORCH}


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_is_pinned_and_has_hashes(name):
    assert [line for line in lines(name) if not LINE.fullmatch(line)] == []
    found = [line.split("==")[0] for line in lines(name)]
    assert found and found == sorted(set(found))


@pytest.mark.parametrize("name", LOCKS)
def test_no_lock_names_an_index_or_a_path(name):
    text = (ROOT / name).read_text()
    assert not re.search(r"://|index-url|find-links|trusted-host|(^|[\s@=])/[a-z]", text)


def test_what_the_package_asks_for_is_locked():
    project, runtime = PROJECT["project"], versions("requirements.lock", *TORCH)
    assert lacking(project["dependencies"] + PROJECT["build-system"]["requires"], runtime) == []
    for extra in project["optional-dependencies"].values():
        assert lacking(extra, runtime | versions("requirements-dev.lock")) == []


def test_what_the_locked_packages_ask_for_is_locked():
    runtime, development = versions("requirements.lock", TORCH[1]), versions("requirements-dev.lock")
    for names, locked in ((runtime, runtime), (development, runtime | development)):
        wanted = {name: importlib.metadata.requires(name) or [] for name in names}
        assert {name: short for name in names if (short := lacking(wanted[name], locked))} == {}


def test_runtime_and_development_are_apart():
    runtime, development = versions("requirements.lock", *TORCH), versions("requirements-dev.lock")
    assert runtime.keys() & development.keys() == set()
    assert {"pytest", "pytest-xdist", "ruff", "opacus"} <= development.keys()


def test_both_builds_of_torch_are_of_one_version():
    default, cpu = versions(TORCH[0]), versions(TORCH[1])
    assert cpu == {"torch": f"{default['torch']}+cpu"}
    only_linux = [line for line in lines(TORCH[0]) if not line.startswith("torch==")]
    assert only_linux and all('; platform_system == "Linux"' in line for line in only_linux)


def test_the_sbom_holds_what_the_locks_name_with_their_hashes(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "supply")
    from sbom import only_locked

    def component(name):
        return {"name": name, "version": "1.0", "bom-ref": name, "purl": f"pkg:pypi/{name}@1.0"}

    edges = {"subject": ["Big_One"], "Big_One": ["pytest"], "pytest": []}
    found = {
        "metadata": {"component": {"bom-ref": "subject"}},
        "components": [component("Big_One"), component("pytest")],
        "dependencies": [{"ref": ref, "dependsOn": targets} for ref, targets in edges.items()],
    }
    bom = only_locked(found, {"big-one==1.0": ["ab" * 32]})
    assert [one["name"] for one in bom["components"]] == ["Big_One"]
    assert bom["components"][0]["externalReferences"][0]["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert bom["dependencies"] == [{"ref": "subject", "dependsOn": ["Big_One"]}, {"ref": "Big_One", "dependsOn": []}]


OFFLINE = """
import os, socket

asked = []

def refused(*arguments, **options):
    asked.append(arguments)
    raise OSError("the network was asked for")

class Unconnected(socket.socket):  # urllib3 makes one to see whether there is IPv6; none may lead anywhere
    connect = connect_ex = sendto = refused

socket.socket, socket.getaddrinfo, socket.create_connection = Unconnected, refused, refused

import echosynth.networks.paper
import huggingface_hub.constants

assert not asked, asked
assert huggingface_hub.constants.HF_HUB_OFFLINE and huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY
switches = "HF_HUB_OFFLINE HF_HUB_DISABLE_TELEMETRY DO_NOT_TRACK HF_DATASETS_OFFLINE TRANSFORMERS_OFFLINE"
assert all(os.environ[name] == "1" for name in switches.split())
print("offline")
"""


def test_importing_asks_no_network_and_sets_the_switches_first():
    switches = ("HF_", "TRANSFORMERS_", "DO_NOT_TRACK", "DISABLE_TELEMETRY")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(switches)}
    environment |= {"HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT / "src")}
    run = subprocess.run([sys.executable, "-c", OFFLINE], env=environment, capture_output=True, text=True)
    assert run.stdout == "offline\n", run.stderr
