"""The study that the tests of the report share."""

import pytest

from echosynth.study import Study
from toy_study import make_study


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A finished study, shared: tests leave it as it is, but for its report."""
    return make_study(tmp_path_factory.mktemp("report"))
