"""`dropcli.Dropout` as a function: with the masks of files, or with new ones for each call."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import dropcli
from dropcli import Dropout
from tests.conftest import Run

VALUES = [
    Dropout(),
    Dropout(0.3, 7),
    Dropout(p=(0.1, 0.5), seed=2**64 - 1, p_per="sample"),
    Dropout(p=1, mode="channel", rescale=False),
    Dropout(mode="patch:8", exact=True),
    Dropout(over="0,2:8,-1", min_keep=2, fill=-0.5),
    Dropout(over=[0, 1], rng="torch"),
    Dropout(float(np.float32(0.25)), alpha=True, key="a*", exclude=["b", "c'"]),
    Dropout(eval=True, all_floats=True, fill=3),
]


class Samples(Dataset[Tensor]):
    """Sixteen samples of ones, each passed to the transform."""

    def __init__(self, transform: Dropout) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(torch.ones(3, 32))


def epochs(seed: int, context: str | None, workers: int = 2) -> list[Tensor]:
    """The samples of two epochs, shape (16, 3, 32) each."""
    torch.manual_seed(seed)
    samples = Samples(Dropout(p=0.3, seed=7))
    loader = DataLoader(samples, batch_size=4, num_workers=workers, multiprocessing_context=context)
    return [torch.cat(list(loader)) for _ in range(2)]


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_a_transform_in_workers(context: str) -> None:
    first, second = epochs(1, context)
    whole = torch.cat([first, second]).reshape(32, -1)
    assert len(np.unique(whole.numpy(), axis=0)) == 32  # all masks differ
    assert 0.2 < (whole == 0).float().mean() < 0.4
    assert whole.max() == torch.tensor(1 / 0.7)
    again = epochs(1, context)
    assert torch.equal(first, again[0])
    assert torch.equal(second, again[1])


def test_the_seed_of_torch_determines_the_masks() -> None:
    dropout = Dropout(0.5, seed=3)
    torch.manual_seed(0)
    drawn = [dropout(torch.ones(100)) for _ in range(2)]
    mask = dropout.mask([100])
    assert not torch.equal(drawn[0], drawn[1])
    torch.manual_seed(0)
    assert torch.equal(dropout(torch.ones(100)), drawn[0])
    assert torch.equal(torch.from_numpy(dropout(np.ones(100, np.float32))), drawn[1])
    assert np.array_equal(dropout.mask([100]), mask)
    torch.manual_seed(0)
    assert not torch.equal(Dropout(0.5, seed=4)(torch.ones(100)), drawn[0])
    assert not torch.equal(epochs(1, None, 0)[0], epochs(2, None, 0)[0])


@pytest.mark.parametrize("options", [{}, {"mode": "channel"}, {"over": "0,2:4", "fill": 2}])
def test_with_a_stream_it_is_what_the_command_writes(run: Run, options: dict[str, Any]) -> None:
    x = torch.randn(8, 3, 9, 9)
    save_file({"images": x}, "train.safetensors")
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    run("apply", "train.safetensors", "-o", "o", *words, "-p", 0.3, "--seed", 7, "--copies", 2)
    dropout = Dropout(p=0.3, seed=7, **options)
    for copy in (1, 2):
        written = load_file(f"o/train.{copy}.safetensors")["images"]
        names: dict[str, Any] = {"stream": "train", "tensor": "images", "copy": copy}
        assert torch.equal(dropout(x, **names), written)
        assert np.array_equal(dropout(x.numpy(), **names), written.numpy())
        assert torch.equal(dropcli.drop(x, p=0.3, seed=7, **names, **options), written)
        keep = dropout.mask(x.shape, **names)
        assert np.array_equal(keep, (written != options.get("fill", 0)).numpy())
        over = {name: value for name, value in options.items() if name != "fill"}
        assert np.array_equal(keep, dropcli.keep_mask(x.shape, p=0.3, seed=7, **names, **over))
        inplace = x.clone()
        assert dropout(inplace, inplace=True, **names) is inplace
        assert torch.equal(inplace, written)


def test_masks_of_torch() -> None:
    x = torch.randn(4, 3, 8, 8)
    last = x.to(memory_format=torch.channels_last)
    for shown in (x, last, x[:, 1:], x[:, :1].expand(4, 3, 8, 8)):
        torch.manual_seed(5)
        expected = F.dropout(shown, 0.4)
        dropped = dropcli.drop(shown, p=0.4, seed=5, rng="torch")
        assert torch.equal(dropped, expected)
        assert torch.equal(Dropout(p=0.4, seed=5, rng="torch")(shown), expected)
        array = dropcli.drop(shown.contiguous().numpy(), p=0.4, seed=5, rng="torch")
        assert shown is last or np.array_equal(array, expected)
    torch.manual_seed(5)
    channels = F.dropout2d(x, 0.4)
    assert torch.equal(dropcli.drop(x, p=0.4, seed=5, rng="torch", mode="channel"), channels)
    keep = dropcli.keep_mask(x.shape, p=0.4, seed=5, rng="torch", over="channel")
    assert np.array_equal(keep, channels.numpy() != 0)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_is_its_repr_and_its_pickle(value: Dropout) -> None:
    for same in (eval(repr(value)), pickle.loads(pickle.dumps(value))):
        assert same == value
        assert hash(same) == hash(value)
        assert repr(same) == repr(value)
    assert value != Dropout(0.123)


def test_the_repr_is_short() -> None:
    assert repr(Dropout(p=0.3, seed=7, mode="channel")) == "Dropout(p=0.3, seed=7, mode='channel')"


def test_evaluation_mode_changes_nothing_and_draws_nothing() -> None:
    x, dropout = torch.randn(50), Dropout(eval=True)
    before = torch.get_rng_state()
    assert torch.equal(dropout(x), x)
    assert dropout(x) is not x
    assert dropout.mask([3, 4]).all()
    assert torch.equal(torch.get_rng_state(), before)


def test_wrong_arguments() -> None:
    x = torch.ones(3, 4)
    for wrong in (
        lambda: Dropout(1.5),
        lambda: Dropout(mode="chanel"),
        lambda: Dropout(mode="channel")(x),
        lambda: Dropout(over=5).mask([3, 4]),
        lambda: Dropout()(torch.arange(3)),
        lambda: Dropout(rng="torch")(x, stream="s"),
        lambda: dropcli.drop(x, seed=1),
        lambda: dropcli.keep_mask([3], seed=1),
    ):
        with pytest.raises(dropcli.ArgumentError) as caught:
            wrong()
        assert isinstance(caught.value, ValueError)
    with pytest.raises(TypeError):
        Dropout(probability=0.3)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Dropout()([1.0])  # type: ignore[type-var]
    with pytest.raises(AttributeError):
        Dropout().p = 0.3  # type: ignore[misc]
