"""The kernel in C gives the bits of numpy: outputs and statistics."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from dropcli.native import drop_natively, is_available
from tests.conftest import Run
from tests.hard_values import DTYPES, VALUES, values

LENGTHS = (0, 1, 2, 63, 64, 65, 511, 512, 513, 1000, 65535, 65536, 65537, 140_000)

COMPILERS = [name for name in ("cc", "clang") if shutil.which(name)]
BUILDS = bool(COMPILERS) and os.environ.get("DROPCLI_BUILD") != "numpy"
needs_kernel = pytest.mark.skipif(
    not (BUILDS or is_available()), reason="no C compiler was there when this was installed"
)


@pytest.mark.skipif(not BUILDS, reason="no C compiler, or DROPCLI_BUILD=numpy")
def test_a_kernel_exists_if_there_is_a_compiler() -> None:
    assert is_available(), "reinstall dropcli: its kernel was not compiled"


def both(run: Run, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> list[tuple[bytes, Any]]:
    """The bytes and the statistics with the kernel, and with numpy alone."""
    found = []
    for kernel in ("native", "numpy"):
        monkeypatch.setenv("DROPCLI_KERNEL", kernel)
        done = run("apply", "x.safetensors", "-fo", "y.safetensors", "--json", *arguments)
        assert done.code == 0, done.out
        found.append((Path("y.safetensors").read_bytes(), done.json["files"][0]["tensors"]))
    return found


@needs_kernel
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    tensors=st.lists(
        st.tuples(
            st.sampled_from(VALUES),
            st.sampled_from(LENGTHS) | st.integers(0, 3000),
            st.sampled_from(list(DTYPES)),
            st.integers(0, 99),
        ),
        min_size=1,
        max_size=5,
    ),
    p=st.sampled_from(["0.3", "0.5", "1", "0.999999", "0.0000001", "1e-11"]),
    options=st.sampled_from([(), ("--no-rescale",), ("--over", "0:7"), ("-p", "0.2:0.7")]),
)
@example([(kind, 70_001, "F32", 1) for kind in VALUES], "0.3", ())
@example([(kind, 70_001, "F16", 1) for kind in VALUES], "0.3", ())
@example([(kind, 70_001, "BF16", 1) for kind in VALUES], "0.3", ())
@example([(kind, 70_001, "F64", 1) for kind in VALUES], "0.3", ())
def test_the_same_bytes_and_statistics_as_numpy(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    tensors: list[tuple[str, int, str, int]],
    p: str,
    options: tuple[str, ...],
) -> None:
    save_file({f"{i}": values(*parts) for i, parts in enumerate(tensors)}, "x.safetensors")
    given_p = () if "-p" in options else ("-p", p)
    kernel, numpy = both(run, monkeypatch, "--all-floats", "--seed", 7, *given_p, *options)
    assert kernel == numpy


@needs_kernel
def test_the_kernel_is_used() -> None:
    raw = np.arange(1000, dtype=np.float32)
    kept = np.arange(1000) % 2 == 0
    done = drop_natively(raw.view(np.uint8), "F32", 2.0, kept, statistics=True)
    assert done is not None
    assert done.kept == 500
    assert raw.tolist() == [2.0 * i if i % 2 == 0 else 0.0 for i in range(1000)]


@needs_kernel
def test_blocks_that_are_not_finite_are_left_to_numpy() -> None:
    raw = np.array([1, 2, np.inf, 4], np.float32)
    before = raw.copy()
    assert drop_natively(raw.view(np.uint8), "F32", 2.0, raw > 0, statistics=False) is None
    assert raw.tobytes() == before.tobytes()


@needs_kernel
@pytest.mark.parametrize("dtype", DTYPES)
def test_elements_lie_at_any_address(dtype: str) -> None:
    """As they do after a tensor of 3 bytes; the sanitizers stop at a load that is not aligned."""
    raw = np.zeros(3 + 1000 * np.dtype(DTYPES[dtype]).itemsize, np.uint8)[3:]
    aligned = values("normal", 1000, dtype, 1).view(torch.uint8).numpy().copy()
    raw[:] = aligned
    keep = np.arange(1000) % 3 > 0
    assert raw.ctypes.data % 2 == 1
    for data in (aligned, raw):
        assert drop_natively(data, dtype, 2.0, keep, statistics=True)
    assert raw.tobytes() == aligned.tobytes()
