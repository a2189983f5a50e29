"""What the tests of the chart share: both Helms, and every scenario, rendered once for each Kubernetes by each Helm."""

import functools
from collections.abc import Callable

import pytest

from chart.rendering import COMBINATIONS, HELMS, NEWEST, SCENARIOS, Helm, Render, Rendered


@pytest.fixture(scope="session")
def helms(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Helm]:
    return functools.cache(lambda major: Helm(major, tmp_path_factory.mktemp(f"helm-{major}")))


@pytest.fixture(scope="session", params=HELMS, ids=lambda major: f"helm-{major}")
def each_helm(request: pytest.FixtureRequest, helms: Callable[[int], Helm]) -> Helm:
    return helms(request.param)


@pytest.fixture(scope="session")
def helm(helms: Callable[[int], Helm]) -> Helm:
    """The first one."""
    return helms(HELMS[0])


@pytest.fixture(scope="session")
def render(helms: Callable[[int], Helm]) -> Render:
    """A scenario for a Kubernetes by a Helm, rendered once. Whoever changes it takes a copy."""
    return functools.cache(
        lambda scenario, kubernetes, major: helms(major).template(SCENARIOS[scenario], kubernetes=kubernetes)
    )


@pytest.fixture(params=COMBINATIONS, ids=lambda of: f"{of[0]}-{of[1]}-helm-{of[2]}")
def rendered(request: pytest.FixtureRequest, render: Render) -> Rendered:
    """Every scenario for the lowest and the highest Kubernetes, by each Helm."""
    scenario, kubernetes, major = request.param
    return render(scenario, kubernetes, major)


@pytest.fixture
def everything(render: Render) -> Rendered:
    """A copy of the scenario with everything in it, to break."""
    return render("everything", NEWEST, HELMS[0]).copy()
