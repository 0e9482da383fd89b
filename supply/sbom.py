"""What runs with echosynth, as a CycloneDX 1.6 document: `make sbom` (docs/supply.md)."""

import json
import re
import subprocess
import sys
from pathlib import Path

from locks import ROOT, RUNTIME, TORCH, TORCH_CPU, read_lock


def only_locked(bom: dict, locked: dict[str, list[str]]) -> dict:
    """The document of an environment, reduced to the packages of the locks and with the locks' hashes.

    Args:
        bom: CycloneDX as cyclonedx-py writes it of an environment.
        locked: "name==version" -> SHA-256 hashes of the files of that version.

    Returns:
        The document without what no lock names: the tests' packages, pip, and echosynth's own, which is the subject.
    """
    components = [component for component in bom["components"] if _pin(component) in locked]
    kept = {component["bom-ref"] for component in components} | {bom["metadata"]["component"]["bom-ref"]}
    return bom | {
        "components": [_with_hashes(component, locked[_pin(component)]) for component in components],
        "dependencies": [_within(kept, edge) for edge in bom["dependencies"] if edge["ref"] in kept],
    }


def main(python: str, out: str) -> None:
    locks = {lock: _by_pin(read_lock(ROOT / lock)) for lock in (RUNTIME, TORCH, TORCH_CPU)}
    bom = only_locked(_environment(python), {pin: hashes for lock in locks.values() for pin, hashes in lock.items()})
    found = {_pin(component) for component in bom["components"]}
    if lacking := sorted(locks[RUNTIME].keys() - found):
        sys.exit(f"make sbom: {python} lacks {', '.join(lacking)} of {RUNTIME}; make setup installs it")
    text = json.dumps(bom, indent=2, sort_keys=True) + "\n"
    if problem := _problem(text):
        sys.exit(f"make sbom: not CycloneDX 1.6: {problem}")
    Path(out).write_text(text)
    print(f"{out}: {len(found)} packages")


def _environment(python: str) -> dict:
    """What is installed beside an interpreter, with licences, as CycloneDX."""
    tool = Path(sys.executable).parent / "cyclonedx-py"
    command = [tool, "environment", "--pyproject", "pyproject.toml", "--output-reproducible", "--sv", "1.6", python]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def _by_pin(lock: dict[str, tuple[str, list[str]]]) -> dict[str, list[str]]:
    return {f"{name}=={version}": hashes for name, (version, hashes) in lock.items()}


def _pin(component: dict) -> str:
    return f"{re.sub(r'[-_.]+', '-', component['name']).lower()}=={component['version']}"


def _within(kept: set[str], edge: dict) -> dict:
    return edge | {"dependsOn": [ref for ref in edge.get("dependsOn", []) if ref in kept]}


def _with_hashes(component: dict, hashes: list[str]) -> dict:
    files = {
        "type": "distribution",
        "url": component["purl"],
        "comment": "every file of this version, as locked",
        "hashes": [{"alg": "SHA-256", "content": one} for one in hashes],
    }
    return component | {"externalReferences": [*component.get("externalReferences", []), files]}


def _problem(text: str) -> object:
    from cyclonedx.schema import OutputFormat, SchemaVersion  # only the tools' environment has it
    from cyclonedx.validation import make_schemabased_validator

    return make_schemabased_validator(OutputFormat.JSON, SchemaVersion.V1_6).validate_str(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
