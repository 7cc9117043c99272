"""`--mode`: what one decision covers, by the usual names."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import dropcli
from tests.conftest import Run, header_of

X = torch.rand(6, 3, 16, 16) + 1


def dropped(run: Run, x: torch.Tensor, *options: object) -> torch.Tensor:
    save_file({"x": x}, "x.safetensors")
    done = run("apply", "x.safetensors", "-fo", "y.safetensors", "--seed", 5, "-p", 0.4, *options)
    assert done.code == 0, done.err
    zeros: torch.Tensor = load_file("y.safetensors")["x"] == 0
    return zeros


@pytest.mark.parametrize(
    ("mode", "over"),
    [
        ("channel", "0,1"),
        ("pixel", "0,2,3"),
        ("sample", "0"),
        ("feature", "-1"),
        ("patch:8", "0,2:8,3:8"),
        ("patch:5", "0,2:5,3:5"),
    ],
)
def test_a_mode_is_a_name_for_over(run: Run, mode: str, over: str) -> None:
    named = dropped(run, X, "--mode", mode)
    by_mode = Path("y.safetensors").read_bytes()
    assert torch.equal(named, dropped(run, X, "--over", over))
    assert Path("y.safetensors").read_bytes() == by_mode
    settings = json.loads(header_of("y.safetensors")["__metadata__"]["dropcli"])[0]["settings"]
    assert settings["over"] == over
    assert 0 < named.float().mean() < 1


def test_patches_are_square_holes_in_all_channels(run: Run) -> None:
    zeros = dropped(run, X, "--mode", "patch:8")
    holes = zeros[:, :1, ::8, ::8].repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert torch.equal(zeros, holes.expand_as(zeros))


def test_pixels_drop_in_all_channels(run: Run) -> None:
    zeros = dropped(run, X, "--mode", "pixel")
    assert (zeros == zeros[:, :1]).all()


def test_features_drop_in_all_samples(run: Run) -> None:
    zeros = dropped(run, torch.rand(50, 40) + 1, "--mode", "feature")
    assert (zeros == zeros[:1]).all()
    assert 0 < zeros.float().mean() < 1


def test_whole_samples_drop(run: Run) -> None:
    zeros = dropped(run, torch.rand(50, 4) + 1, "--mode", "sample")
    assert (zeros == zeros[:, :1]).all()
    assert dropped(run, torch.rand(50) + 1, "--mode", "sample").any()


@pytest.mark.parametrize(
    ("mode", "meant"),
    [("channel", "--over 0,3"), ("pixel", "--over 0,1,2"), ("patch:4", "--over 0,1:4,2:4")],
)
def test_channels_last_gives_a_warning(run: Run, mode: str, meant: str) -> None:
    def codes(shape: tuple[int, ...], *options: object) -> list[str]:
        save_file({"x": torch.ones(shape)}, "x.safetensors")
        result = run("apply", "x.safetensors", "-fo", "y.safetensors", "--json", *options)
        assert result.code == 0
        assert (meant in result.err) == bool(result.warnings)
        return result.warnings

    for channels in (1, 3, 4):
        assert codes((5, 8, 9, channels), "--mode", mode) == ["looks-like-nhwc"]
    for shape in ((5, 3, 8, 8), (5, 8, 9, 2), (5, 3, 9, 3), (5, 9, 3, 3)):
        assert codes(shape, "--mode", mode) == []
    assert codes((5, 8, 9, 3), "--over", "0,1") == []


def test_python_knows_the_modes(run: Run) -> None:
    zeros = dropped(run, X, "--mode", "patch:8")
    for settings in ({"mode": "patch:8"}, {"over": "patch:8"}):
        ours = dropcli.drop(X, p=0.4, seed=5, stream="x", tensor="x", **settings)  # type: ignore[arg-type]
        assert torch.equal(ours == 0, zeros)


def test_a_mode_is_checked_after_the_same_over() -> None:
    """Both have the same blocks, so that what is remembered of one must not serve the other."""
    x = torch.rand(3, 9, 9)
    dropcli.drop(x, p=0.3, seed=1, stream="a", tensor="x", over="0,1")
    with pytest.raises(dropcli.DropcliError, match="needs 4 or more dimensions"):
        dropcli.drop(x, p=0.3, seed=1, stream="a", tensor="x", mode="channel")
