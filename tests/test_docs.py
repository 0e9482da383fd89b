"""The documents: what they point to exists, and every experiment they tell of can be repeated from this repository."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = [ROOT / "Makefile", *(path for room in ("src", "benchmarks", "tests") for path in (ROOT / room).rglob("*.py"))]


def anchors(page: Path) -> set[str]:
    """What headings are called in links: lower case, spaces as hyphens, without other signs."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_and_benchmarks_that_are_named_exist(page):
    text = page.read_text()
    for file, name in re.findall(r"(tests/[\w/]+\.py)::(\w+)", text):
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{name}"
    for name in re.findall(r"python -m benchmarks\.(\w+)", text):
        assert (ROOT / "benchmarks" / f"{name}.py").exists(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_experiment_is_told_of_that_cannot_be_repeated(page):
    assert not re.search(r"code was not kept|\ba trial\b|single trials?\b", page.read_text())


def test_documents_that_code_names_exist():
    for path in SOURCES:
        for name in re.findall(r"\bdocs/[\w./]+\.(?:md|png)", path.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{path.relative_to(ROOT)}: {name}"


def test_options_are_not_chosen_on_test():
    assert '"TEST"' not in (ROOT / "benchmarks" / "steps.py").read_text()


def test_every_benchmark_and_every_file_has_its_place():
    readme, plan = (ROOT / "README.md").read_text(), (ROOT / "docs" / "architecture.md").read_text()
    for path in (ROOT / "benchmarks").glob("*.py"):
        assert path.name in readme or path.stem == "__init__", path.name
    for path in (ROOT / "src" / "echosynth").rglob("*.py"):
        assert path.name in plan or path.stem in ("__init__", "__main__"), path.relative_to(ROOT)
