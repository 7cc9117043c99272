"""Workers of a Dask cluster on a store."""

import pytest
import torch

from tests.conftest import SETTINGS, Run
from tests.stores.server import Store


def test_workers_of_a_cluster(run: Run, store: Store, data: dict[str, torch.Tensor]) -> None:
    pytest.importorskip("distributed", reason="needs the extra dask")
    from tests.dask_cluster import cluster

    url = store.put_folder("data")
    with cluster() as made:  # its workers get the settings of the store from here
        on = ("--engine", "dask", "--scheduler", made.address)
        assert run("apply", url, "-o", f"{store.url}/out", *SETTINGS, *on, "-q").code == 0
        again = run("apply", url, "-o", f"{store.url}/out", *SETTINGS, *on, "--resume", "--json")
    assert {file["status"] for file in again.json["files"]} == {"skipped"}
    assert run("apply", url, "-o", f"{store.url}/whole", *SETTINGS, "-j", 1, "-q").code == 0
    assert store.objects("out") == store.objects("whole")
    assert len(store.objects("out")) == len(data)
