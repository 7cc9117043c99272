"""`dropcli preview`: it shows what `apply` would do, and writes nothing."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import dropcli
from tests.builders import saved, sparse
from tests.conftest import Run, peak_megabytes, shell
from tests.refusal import Refuse, snapshot

SETTINGS: tuple[dict[str, Any], ...] = (
    {"p": 0.3},
    {"p": 0.4, "over": "0,1"},
    {"p": 0.5, "over": "0,-1:2", "fill": 3},
    {"p": (0.1, 0.9), "p_per": "sample"},
    {"p": 0.5, "over": "0,1", "exact": True},
    {"p": 0.5, "rescale": False},
    {"p": 0.2, "alpha": True},
    {"p": 0.4, "rng": "torch"},
)
# The shape in which a tensor is shown: samples, height, width, channels.
IMAGES = {
    (5, 3, 12, 10): lambda x: x.permute(0, 2, 3, 1),
    (5, 1, 8, 8): lambda x: x.permute(0, 2, 3, 1),
    (5, 12, 10, 3): lambda x: x,
    (4, 20, 300): lambda x: x.permute(1, 2, 0)[None, :, ::3],
    (3, 9, 9): lambda x: x.permute(1, 2, 0)[None],
    (9, 9, 4): lambda x: x[None],
    (12, 10, 9): lambda x: x[:, :, :, None],
    (16, 30): lambda x: x[None, :, :, None],
}
TABLES = {(64, 7), (2, 500), (30,), (2, 3, 4, 5, 6), (6, 2, 9)}


def spread(count: int, most: int) -> list[int]:
    return [number * count // min(count, most) for number in range(min(count, most))]


def shown(x: torch.Tensor, is_image: bool) -> torch.Tensor:
    """The elements of a whole tensor that a preview shows."""
    if is_image:
        found: torch.Tensor = IMAGES[tuple(x.shape)](x)
        return found[spread(len(found), 8)]
    rows = x.reshape(-1, x.shape[-1])
    return rows[spread(len(rows), 8), :128][None, :, :, None]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_samples_are_what_apply_writes(settings: dict[str, Any], dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    for shape in [*IMAGES, *TABLES]:
        x = torch.randn(shape).to(dtype)
        save_file({"x": x}, "x.safetensors")
        try:
            dropcli.apply("x.safetensors", "y.safetensors", seed=7, force=True, **settings)
        except dropcli.TensorError as error:
            with pytest.raises(dropcli.TensorError, match=re.escape(error.message)):
                dropcli.preview("x.safetensors", seed=7, **settings)
            continue
        (look,) = dropcli.preview("x.safetensors", seed=7, **settings).looks
        assert look.is_image == (shape in IMAGES)
        y = load_file("y.safetensors")["x"]
        for ours, whole in ((look.before, x), (look.after[0], y)):
            theirs = shown(whole, look.is_image).numpy()
            assert np.ascontiguousarray(ours).tobytes() == np.ascontiguousarray(theirs).tobytes()


def test_copies_and_views_in_a_pickle() -> None:
    base = torch.rand(6, 8, 8, 3)
    content = {"a": base.permute(0, 3, 1, 2), "b": {"label": torch.rand(6)}}
    Path("x.pt").write_bytes(saved(content))
    dropcli.apply("x.pt", "out", seed=3, copies=2)
    preview = dropcli.preview("x.pt", seed=3, copies=2)
    (look,) = preview.looks
    for number in (1, 2):
        y = torch.load(f"out/x.{number}.pt", weights_only=True)["a"].permute(0, 2, 3, 1)
        assert torch.equal(torch.from_numpy(look.after[number - 1]), y)
        assert np.array_equal(look.keep[number - 1], y.numpy() != 0)


ODD = {
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 4),
    "no columns": torch.zeros(4, 0),
    "one": torch.ones(1, 1),
    "all equal": torch.full((4, 3, 8, 8), 7.0),
    "zeros": torch.zeros(5, 1, 8, 8),
    "NaN": torch.full((2, 1, 8, 8), float("nan")),
    "mixed": torch.tensor([[float("nan"), float("inf"), -float("inf"), 1.0]] * 20),
    "huge": torch.tensor([[1.7e308, -1.7e308, 1.0] * 4] * 12, dtype=torch.float64),
    "tiny": torch.full((9, 9), 5e-324, dtype=torch.float64),
    "negative": -torch.rand(3, 3, 9, 9),
    "bool": torch.rand(5, 9, 9) < 0.5,
    "uint8": torch.randint(0, 256, (4, 20, 20, 3), dtype=torch.uint8),
    "int64": torch.tensor([[2**62, -(2**62)]] * 3),
    "complex": torch.randn(4, 12, 12, dtype=torch.complex64),
    "half": torch.rand(2, 4, 40, 40).half() * 60000,
    "bfloat16": torch.randn(100, 5).bfloat16(),
    "float8": torch.randn(3, 12, 12).to(torch.float8_e4m3fn),
    "no images": torch.zeros(0, 3, 4, 4),
    "one pixel": torch.ones(1, 1, 1, 1),
    "uint64": torch.full((9, 9), 2**64 - 1, dtype=torch.uint64),
    "wide": torch.rand(1, 3, 2, 1000),
    "tall": torch.rand(1, 1, 1000, 2),
    "long": torch.rand(100_000),
    "seven": torch.rand(2, 1, 2, 1, 2, 1, 2),
    "many channels": torch.rand(2, 64, 7, 7),
    "alpha": torch.rand(2, 4, 16, 16),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_tensors(run: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    save_file({"x": ODD[name].contiguous()}, "x.safetensors")
    before = snapshot()
    for columns in (40, 57, 80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        for color in ("always", "never"):
            options = ("--no-rescale", "-k", "x", "--color", color, "--copies", "2")
            result = run("preview", "x.safetensors", *options)
            assert result.code == 0, result.err
            lines = re.sub("\x1b\\[[0-9;]*m", "", result.out).splitlines()
            assert max(map(len, lines)) <= columns
            assert ("\x1b" in result.out) == (color == "always")
    assert snapshot() == before
    preview = dropcli.preview("x.safetensors", key="x", rescale=False)
    assert ("<img" in preview._repr_html_()) == (ODD[name].numel() > 0)
    if not ODD[name].numel():
        with pytest.raises(dropcli.DropcliError, match="no elements would drop"):
            preview.save("sheet.png")
        return
    preview.save("sheet.png")
    with Image.open("sheet.png") as image:
        image.verify()
        assert image.format == "PNG"


def colors_of(line: str) -> list[list[int]]:
    """The upper and lower colours of the characters of a line, as one shade each."""
    found: list[list[int]] = [[], []]
    shades = [0, 0]
    for code, char in re.findall(r"((?:\x1b\[[0-9;]*m)*)(▀)", line):
        for place, red, green, blue in re.findall(r"\[(38|48);2;(\d+);(\d+);(\d+)m", code):
            assert red == green == blue
            shades[int(place == "48")] = int(red)
        assert char
        found[0].append(shades[0])
        found[1].append(shades[1])
    return found


def test_half_blocks_have_the_shades_of_the_values(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "64")
    x = torch.rand(1, 1, 30, 30)
    save_file({"x": x}, "x.safetensors")
    dropcli.apply("x.safetensors", "y.safetensors", p=0.5, seed=2)
    y = load_file("y.safetensors")["x"]
    out = run("preview", "x.safetensors", "-p", "0.5", "--seed", "2", "--color", "always").out
    shades = [row for line in out.splitlines() if "▀" in line for row in colors_of(line)]
    known = torch.cat([x[0, 0], y[0, 0]], dim=1).abs() / float(max(x.max(), y.max())) * 255
    assert np.abs(np.array(shades) - known.numpy()).max() <= 0.51
    assert f"0 to {float(y.max()):.4g}" in out  # the range is shown


def test_it_says_which_tensors_drop_and_why(run: Run) -> None:
    content = {"a": torch.rand(4, 9), "label": torch.rand(4), "n": torch.arange(4)}
    save_file(content, "x.safetensors")
    for options, words in (
        ("", "float data/named like a label/I64 drops only if -k names it"),
        ("-k label", "not named by -k/named by -k"),
        ("--exclude a --all-floats", "named by --exclude/drop: a float"),
        ("--eval", "evaluation mode"),
    ):
        out = run("preview", "x.safetensors", *options.split()).out
        assert all(word in out for word in words.split("/"))


def test_hostile_names(run: Run) -> None:
    names = ["a[0]", "<script>alert(1)</script>", "\x1b[31mred", "\u202eevil", "'\"&|`", "x\n\ny"]
    save_file({name: torch.rand(9, 9) for name in names}, "x.safetensors")
    out = run("preview", "x.safetensors", "-v", "--color", "never").out
    page = dropcli.preview("x.safetensors")._repr_html_()
    for text in (out, page):
        assert not {"\x1b", "\u202e", "\x00"} & set(text)
        assert "\\x1b[31mred" in text
        assert "\\u202eevil" in text
    assert "<script>alert(1)</script>" in out
    assert "<script" not in page
    assert "a[0]" in page
    assert "http" not in page


def test_the_contact_sheet(run: Run, refuse: Refuse) -> None:
    x = torch.rand(5, 3, 96, 96)
    save_file({"x": x}, "x.safetensors")
    options = ("x.safetensors", "--seed", "1", "--copies", "2", "-o", "sheet.png")
    assert run("preview", *options).code == 0
    with Image.open("sheet.png") as opened:
        image = np.asarray(opened)
    dropcli.apply("x.safetensors", "out", seed=1, copies=2)
    high = max(float(load_file(f"out/x.{n}.safetensors")["x"].max()) for n in (1, 2))
    wanted = (x[0].permute(1, 2, 0) / high * 255).numpy()
    tops, lefts = 38 + 6, 64
    part = image[tops : tops + 96, lefts : lefts + 96].astype(float)
    assert np.abs(part - wanted).max() <= 0.51
    mask = image[tops : tops + 96, lefts + 3 * 102 : lefts + 3 * 102 + 96]
    kept = load_file("out/x.1.safetensors")["x"][0].permute(1, 2, 0).numpy() != 0
    assert np.array_equal(mask == 255, kept)
    assert run("preview", *options).code == 1  # it exists
    assert run("preview", *options, "--force").code == 0


def test_wrong_outputs_and_inputs(run: Run) -> None:
    save_file({"x": torch.zeros(3, 9, 9, dtype=torch.uint8)}, "bytes.safetensors")
    save_file({"x": torch.rand(3, 9)}, "x.safetensors")
    before = snapshot()
    for arguments, code in (
        ("x.safetensors -o y.safetensors", 2),
        ("x.safetensors -o no/sheet.png", 1),
        ("bytes.safetensors", 1),
        ("none.safetensors", 1),
        ("x.safetensors --rng torch --copies 2", 2),
        ("", 2),
        ("https://host.example/x.pt", 2),
    ):
        result = run("preview", *arguments.split())
        assert result.code == code
        assert result.err.startswith("error: ")
        assert not result.out
    assert snapshot() == before


def test_without_pillow_there_is_an_install_hint() -> None:
    save_file({"x": torch.rand(3, 9)}, "x.safetensors")
    code = "import sys; sys.modules['PIL'] = None; from dropcli.cli import main; sys.exit(main())"
    done = shell(f'python -c "{code}" preview x.safetensors -o sheet.png')
    assert done.returncode == 1
    assert b"error: -o: a .png file needs pillow" in done.stderr
    assert b"hint: pip install 'dropcli[plots]'" in done.stderr
    assert not Path("sheet.png").exists()


def test_a_pipe_and_a_folder(run: Run) -> None:
    Path("d").mkdir()
    for name in ("b", "a"):
        save_file({"x": torch.rand(1, 1, 8, 8)}, f"d/{name}.safetensors")
    alone = run("preview", "d/a.safetensors", "--seed", "3", "--color", "always").out
    folder = run("preview", "d", "--seed", "3", "--color", "always")
    assert folder.out == alone
    assert "first of 2 files" in folder.err
    command = "dropcli preview - --seed 3 --stream a --color always < d/a.safetensors"
    piped = shell(command).stdout.decode()
    assert piped.splitlines()[1:] == alone.splitlines()[1:]


def test_no_more_is_read_than_is_shown() -> None:
    size = 6 * 2**30
    shape = f"[{size // 4 // (3 * 256 * 256)},3,256,256]"
    header = f'{{"x":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{size}]}}}}'
    sparse("big.safetensors", header, size)
    assert peak_megabytes("preview", "big.safetensors", "--seed", "1", "--copies", "2") < 100


def test_its_representations() -> None:
    save_file({"x": torch.rand(3, 3, 9, 9), "y": torch.arange(3)}, "x.safetensors")
    preview = dropcli.preview("x.safetensors", p=0.3, seed=1)
    assert repr(preview) == "<preview of 'x.safetensors': 1 tensor to drop, 1 to copy>"
    assert repr(preview.looks[0]).startswith("<look at 'x': F32, (3, 3, 9, 9), images")
    page = preview._repr_html_()
    assert page.count("data:image/png;base64,") == 9  # three samples: original, after, mask
    assert "p 0.3, seed 1" in page
    assert "<script" not in page
    preview.save("sheet.html")
    whole = Path("sheet.html").read_text()
    assert "<h1>Preview of x.safetensors</h1>" in whole
    assert re.findall(r'src="([^"]*)"', whole) == re.findall(r'src="([^"]*)"', page)
    assert "drop: float data" in whole
    assert 'aria-label="Histogram of x from' in whole
    with pytest.raises(dropcli.DropcliError, match="exists"):
        preview.save("sheet.html")
