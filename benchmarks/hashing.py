"""What hashing costs: `python -m benchmarks.hashing COHORT OUT [PRESET]`.

Carries out a study of the preset (demo) on COHORT in OUT and prints the seconds that went into hashing and comparing files, beside those of the
whole, and the root hash of the synthetic cohort (clips and lists), which two versions of echosynth can be compared by.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

from echosynth import manifest
from echosynth.files import hash_file
from echosynth.private import working
from echosynth.run import carry_out, open_or_create

LISTS = ("FileList.csv", "README.md")


class Timed:
    """`hash_file`, with a count of its calls, bytes and seconds."""

    def __init__(self):
        self.calls, self.bytes, self.seconds = 0, 0, 0.0

    def __call__(self, path: Path) -> str:
        start = time.perf_counter()
        digest = hash_file(path)
        self.seconds += time.perf_counter() - start
        self.calls, self.bytes = self.calls + 1, self.bytes + path.stat().st_size
        return digest


def cohort_hash(folder: Path) -> str:
    """One hash of the clips and lists of a synthetic cohort."""
    paths = [*sorted((folder / "Videos").glob("*.avi")), *(folder / name for name in LISTS)]
    pairs = [(path.relative_to(folder).as_posix(), hash_file(path)) for path in paths]
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


def main(arguments: list[str]) -> None:
    """Runs the study and prints the figures."""
    if len(arguments) not in (2, 3):
        sys.exit("usage: python -m benchmarks.hashing COHORT OUT [PRESET]")
    cohort, out = map(Path, arguments[:2])
    timed = manifest.hash_file = Timed()
    start = time.perf_counter()
    with working(out, "run"):
        carry_out(open_or_create(out, cohort, arguments[2] if len(arguments) == 3 else "demo"))
    wall = time.perf_counter() - start
    share = 100 * timed.seconds / wall
    print(f"{wall:.1f} s, of which hashing {timed.seconds:.2f} s ({share:.2f} %): {timed.calls} files, {timed.bytes / 1e6:,.0f} MB")
    print(f"synthetic cohort: {cohort_hash(out / 'synthetic')}")


if __name__ == "__main__":
    main(sys.argv[1:])
