"""Fixtures that several test files share. What a child process needs too stands in small.py.

torch takes seconds to import, so only the fixtures import it: pytest's own process needs none.
"""

import sys

import pytest
from hypothesis import settings

# The same examples in every run, so that the suite never fails by chance.
settings.register_profile("course", deadline=None, max_examples=20, derandomize=True)
settings.load_profile("course")


@pytest.fixture(autouse=True)
def same_random_numbers():
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def images():
    from small import small_images

    return small_images(12)


@pytest.fixture
def vae():
    from small import small_vae

    return small_vae()


@pytest.fixture
def mnist_server(monkeypatch):
    """A server on this machine that torchvision takes for MNIST's mirror."""
    from small import MnistServer
    from torchvision.datasets import MNIST

    with MnistServer() as server:
        for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setattr(MNIST, "mirrors", [server.url])
        monkeypatch.setattr(MNIST, "resources", server.resources)
        yield server


# Not for a whole session: while playwright runs, its event loop is in the way of other tests.
@pytest.fixture(scope="module")
def browser():
    from browser import chromium

    with chromium() as launched:
        yield launched
