"""python -m echosynth.report STUDY FOLDER: the pictures of the README, montage.png and montage.webp, from a finished study."""

import sys
from pathlib import Path

from echosynth.errors import InputError
from echosynth.report.pictures import NotComputed, animated_montage, montage
from echosynth.study import Study


def main(arguments: list[str]) -> None:
    """Writes both pictures and prints their paths; a study that cannot give them ends with one line and exit code 2."""
    if len(arguments) != 2:
        sys.exit("usage: python -m echosynth.report STUDY FOLDER")
    try:
        study, folder = Study.open(Path(arguments[0])), Path(arguments[1])
        montage(study, folder / "montage.png")
        animated_montage(study, folder / "montage.webp")
    except (InputError, NotComputed) as error:
        print(f"no pictures: {error}", file=sys.stderr)
        sys.exit(2)
    print(folder / "montage.png", folder / "montage.webp", sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
