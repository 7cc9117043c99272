"""One server for all tests of stores, with a separate prefix for each test."""

from collections.abc import Callable, Iterator

import pytest

from tests.stores.proxy import FaultyStore, Rule
from tests.stores.server import Store, program, running, settings

_OTHERS = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host and port of an empty server."""
    pytest.importorskip("obstore", reason="needs the extra test-remote")
    weed = program()
    if weed is None:
        pytest.skip("needs the extra test-remote: there is no `weed`")
    with running(weed, tmp_path_factory.mktemp("weed")) as host:
        yield host


@pytest.fixture
def store(
    server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    """A store with the settings of its client in the environment."""
    store = Store(server, request.node.originalname)
    for key in _OTHERS:
        monkeypatch.delenv(key, raising=False)
    for key, value in settings(store.endpoint).items():
        monkeypatch.setenv(key, value)
    yield store
    assert not store.uploads()


Faulty = Callable[[Rule], FaultyStore]


@pytest.fixture
def faulty(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """Connect the command to the store through a proxy that injects faults by a rule."""
    proxies = []

    def faulty(rule: Rule) -> FaultyStore:
        proxies.append(FaultyStore(store.host, rule))
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxies[-1].url)
        return proxies[-1]

    yield faulty
    for proxy in proxies:
        proxy.close()
