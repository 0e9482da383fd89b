"""python -m echosynth.report STUDY FOLDER: the pictures of the README, montage.png and montage.webp."""

import argparse
import sys
from pathlib import Path

from echosynth.errors import InputError
from echosynth.files import PRIVATE_FILE
from echosynth.report.pictures import NotComputed, animated_montage, montage
from echosynth.study import Study


def main(arguments: list[str]) -> None:
    """Writes both pictures and prints their paths; a study that cannot give them ends with one line and exit code 2."""
    parser = argparse.ArgumentParser("python -m echosynth.report", description="Draws the pictures of the README.")
    parser.add_argument("study", type=Path, help="a finished study")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--with-patients", action="store_true", help="draw a cohort that was not simulated, too")
    given = parser.parse_args(arguments)
    try:
        study = Study.open(given.study)
        simulated = (study.cohort_path / "truth.parquet").exists()
        if not (simulated or given.with_patients):
            raise InputError(
                f"{given.study}: its cohort has no truth.parquet, so it was not simulated and the pictures would show"
                " patients; add --with-patients to draw them for yourself"
            )
        mode = 0o666 if simulated else PRIVATE_FILE
        montage(study, given.folder / "montage.png", mode=mode)
        animated_montage(study, given.folder / "montage.webp", mode=mode)
    except (InputError, NotComputed) as error:
        print(f"no pictures: {error}", file=sys.stderr)
        sys.exit(2)
    print(given.folder / "montage.png", given.folder / "montage.webp", sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
