"""`--stats report.html`, `.md` and figures: their content and size, and hostile names."""

import base64
import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.builders import special_values
from tests.conftest import Run

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=y>',
    "a|b",
    "a\\|b",
    "`code` **bold** [link](http://evil.test)",
    "@user #1 http://evil.test <b>",
    "&lt;&#60;",
    "{{ 7 * 7 }}{% raw %}",
    " padded ",
    "$\\frac{1}$",
)
ALLOWED = set(
    re.findall(
        r"\w+",
        "html head meta title style body header main section p h1 h2 h3 dl div dt dd blockquote "
        "table thead tbody tr th td svg path rect circle figure figcaption span img",
    )
)


class Parsed(HTMLParser):
    """The elements of a page, the texts of table cells, and the errors in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("th", "td"):
            self.cells.append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.cells[-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page(run: Run, *options: object, source: str = "x.safetensors") -> str:
    result = run("apply", source, "-fo", "y.safetensors", "-q", "--stats", "r.html", *options)
    assert result.code == 0, result.err
    return Path("r.html").read_text()


def markdown_cells(text: str) -> list[str]:
    """The texts of table cells, as GitHub's dialect has them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    cells = []
    for before, token in pairwise(tokens):
        if before.type in ("th_open", "td_open"):
            parts = token.children or []
            assert {part.type for part in parts} <= {"text", "code_inline", "html_inline"}, parts
            html = [part.content for part in parts if part.type == "html_inline"]
            assert set(html) <= {"<code>", "</code>"}
            cells.append("".join(part.content for part in parts if part.type != "html_inline"))
    return cells


def test_a_page_is_self_contained_and_accessible(run: Run) -> None:
    save_file({"x": torch.randn(9, 3, 4, 4), "label": torch.arange(9)}, "x.safetensors")
    text = page(run, "-p", 0.3, "--seed", 7)
    parsed = Parsed(text)
    assert {tag for tag, _ in parsed.tags} <= ALLOWED
    assert parsed.of("html") == [{"lang": "en"}]
    assert all(cell.get("scope") in ("col", "row") for cell in parsed.of("th"))
    assert all(svg.get("role") == "img" and svg.get("aria-label") for svg in parsed.of("svg"))
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"(?i)https?:|url\(|@import|<link|<script", text)
    for name in ("src", "href", "action"):
        found = [a[name] or "" for _, a in parsed.tags if name in a]
        assert all(address.startswith("data:image/png;base64,") for address in found)
    assert "with probability 0.3" in text
    assert text == page(run, "-p", 0.3, "--seed", 7)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text_in_pages_and_tables(run: Run, name: str) -> None:
    source = f"{name.replace('/', '_')}.safetensors"
    save_file({name: torch.randn(50), "other": torch.randn(50)}, source)
    parsed = Parsed(page(run, "--stream", "s", source=source))
    assert {tag for tag, _ in parsed.tags} <= ALLOWED
    assert parsed.cells.count(name) == 2  # in both tables
    assert run("preview", source, "-o", "p.html", "--stream", "s").code == 0
    parsed = Parsed(Path("p.html").read_text())
    assert {tag for tag, _ in parsed.tags} <= ALLOWED
    assert parsed.cells.count(name) == 1
    run("apply", source, "-fo", "y.pt", "-q", "--stats", "r.md", "--stream", "s")
    assert markdown_cells(Path("r.md").read_text()).count(name) == 2


def test_direction_controls_are_escaped(run: Run) -> None:
    save_file({"a\u202eb\u2066\x1b[31m\n": torch.randn(50)}, "x.safetensors")
    text = page(run)
    run("apply", "x.safetensors", "-fo", "y.pt", "-q", "--stats", "r.md")
    run("preview", "x.safetensors", "-o", "p.html")
    for shown in (text, Path("r.md").read_text(), Path("p.html").read_text()):
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x1b]", shown)
        assert r"a\u202eb\u2066\x1b[31m\n" in re.sub(r"&#(\d+);", lambda m: chr(int(m[1])), shown)


def heights(text: str, side: str) -> list[float]:
    """The height of each bin of the first histogram, as a fraction of the highest."""
    path = re.findall(rf'class="{side}" d="([^"]*)"', text)[0]
    found: list[float] = []
    level = 0.0
    for kind, number in re.findall(r"([MVH])([\d.]+)", path):
        if kind == "V":
            level = 1 - float(number) / 64
        elif kind == "H":
            found.append(level)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_histograms_are_those_of_numpy(run: Run, dtype: torch.dtype) -> None:
    """For a tensor that is small enough to be sampled completely."""
    x = torch.randn(6000, generator=torch.Generator().manual_seed(1)).to(dtype)
    save_file({"x": x}, "x.safetensors")
    text = page(run, "-p", 0.3, "--seed", 7)
    sides = [x, load_file("y.safetensors")["x"]]
    values = [side[side != 0].double().numpy() for side in sides]
    low, high = np.concatenate(values).min(), np.concatenate(values).max()
    counts = [np.histogram(side, 48, (low, high))[0] for side in values]
    most = max(count.max() for count in counts)
    for side, count in zip(("before", "after"), counts, strict=True):
        assert np.allclose(heights(text, side), count / most, atol=2 / most + 0.001)
    assert "6,000 elements sampled" in text
    assert f"{100 * (sides[1] == 0).double().mean():.1f} % after" in text


def test_a_large_tensor_is_sampled_the_same_by_any_kernel_and_worker(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({"x": torch.randn(3_000_001)}, "x.safetensors")
    expected = page(run, "--seed", 1)
    (count,) = re.findall(r"([\d,]+) elements sampled", expected)
    assert 60_000 < int(count.replace(",", "")) <= 65_536
    monkeypatch.setenv("DROPCLI_KERNEL", "numpy")
    assert page(run, "--seed", 1) == expected


def test_strided_tensors_are_sampled_too(run: Run) -> None:
    both = torch.randn(200, 300)
    torch.save({"t": both.t()}, "x.pt")
    run("apply", "x.pt", "-fo", "y.pt", "-q", "--stats", "r.html", "--seed", 1)
    save_file({"t": both.t().contiguous()}, "x.safetensors")
    run("apply", "x.safetensors", "-fo", "z.pt", "--stats", "s.html", "-q", "--seed", 1)
    one, two = (Path(path).read_text() for path in ("r.html", "s.html"))
    assert "60,000 elements sampled" in one
    for side in ("before", "after"):
        assert heights(one, side) == heights(two, side)


def test_a_dataset_gives_one_page_for_any_number_of_workers(run: Run) -> None:
    Path("data").mkdir()
    for number in range(30):
        save_file({"x": torch.randn(70, 9), "y": torch.arange(70.0)}, f"data/{number}.safetensors")
    Path("data/bad.pt").write_bytes(b"nothing")
    Path("data/bad2.pt").write_bytes(b"nothing")
    pages = []
    for jobs in (1, 2):
        result = run("apply", "data", "-fo", "out", "-p", 0.2, "--seed", 1, "-j", jobs, "-q",
                     "--stats", "r.html")  # fmt: skip
        assert result.code == 3
        pages.append(Path("r.html").read_text())
    assert pages[0] == pages[1]
    cells = Parsed(pages[0]).cells
    assert [cell for cell in cells if "bad" in cell] == ["data/bad.pt", "data/bad2.pt"]
    assert cells.count("truncated-header") == 1  # the message of both
    assert 'rowspan="2">' in pages[0][pages[0].index("Failures") :]
    assert "looks-like-label" in cells
    assert "Distance from p in standard deviations" in pages[0]


ODD: dict[str, Any] = {
    "scalar": torch.tensor(3.0),
    "empty": torch.empty(0, 4),
    "one-value": torch.full((300,), 2.5),
    "zeros": torch.zeros(300),
    "nan": torch.full((300,), torch.nan),
    "infinite": torch.tensor([torch.inf, -torch.inf, 1.0] * 100),
    "huge": torch.tensor([1.7e308, -1.7e308, 1.0] * 100, dtype=torch.float64),
    "tiny": torch.tensor([5e-324, -5e-324, 0.0] * 100, dtype=torch.float64),
    "outlier": torch.cat([torch.randn(3000), torch.tensor([1e9])]),
    "neighbours": torch.tensor([1.0, 1.0000001] * 100),
    **{str(dtype)[6:]: special_values(dtype) for dtype in (torch.float16, torch.bfloat16)},
    "float8": torch.randn(300).to(torch.float8_e4m3fn),
    "complex": torch.randn(300, dtype=torch.complex64),
    "bool": torch.rand(300) < 0.5,
    "uint8": torch.randint(0, 255, (300,), dtype=torch.uint8),
    "int64": torch.tensor([2**63 - 1, -(2**63), 1] * 100),
    "six": torch.randn(2, 3, 1, 2, 3, 1),
    "wide": torch.randn(1, 70_000),
    "no-images": torch.zeros(0, 3, 4, 4),
    "one-pixel": torch.ones(1, 1, 1, 1),
    "channels-last": torch.rand(3, 16, 16, 4),
    "subnormal": torch.full((9, 9), 1e-45),
    "uint64": torch.full((9, 9), 2**64 - 1, dtype=torch.uint64),
}


@pytest.mark.parametrize("kind", ODD)
def test_unusual_shapes_and_values_make_valid_pages(run: Run, kind: str) -> None:
    save_file({"x": ODD[kind]}, "x.safetensors")
    options = ("-k", "x", "-p", 0.5, "--seed", 3, *(() if ODD[kind].is_floating_point() and
               kind != "float8" else ("--no-rescale",)))  # fmt: skip
    text = page(run, *options)
    assert {tag for tag, _ in Parsed(text).tags} <= ALLOWED
    drawn = re.findall(r' d="([^"]*)"', text)
    assert all(re.fullmatch(r"[MVHLvhz\d. -]+", path) for path in drawn)
    assert not re.search(r"(?<![a-zA-Z])nan(?![a-zA-Z])", "".join(Parsed(text).cells))
    for suffix in ("md", "svg"):
        done = run(
            "apply", "x.safetensors", "-fo", "y.pt", "-q", "--stats", f"r.{suffix}", *options
        )
        assert (done.code, done.err) == (0, "")


def test_ten_thousand_tensors_make_a_small_page(run: Run) -> None:
    name = "<&\u202e" * 60
    save_file({f"{name}{n}": torch.ones(3) for n in range(10_000)}, "x.safetensors")
    text = page(run)
    assert len(text.encode()) < 1_000_000
    assert "The first 200 of 10,000 tensors." in text


def test_figures_have_the_format_of_their_suffix(run: Run) -> None:
    save_file({name: torch.randn(500) for name in HOSTILE}, "x.safetensors")
    for suffix, start in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
        words = ("apply", "x.safetensors", "-fo", "y.pt", "--seed", 1, "--stats", f"r.{suffix}")
        result = run(*words, "-q")
        assert (result.code, result.err) == (0, "")
        data = Path(f"r.{suffix}").read_bytes()
        assert data.startswith(start)
        assert run(*words, "-q").code == 0
        assert Path(f"r.{suffix}").read_bytes() == data


def test_without_matplotlib_one_line_has_an_install_hint(run: Run) -> None:
    save_file({"x": torch.randn(5)}, "x.safetensors")
    code = (
        "import sys; sys.modules['matplotlib'] = None; from dropcli.cli import main; "
        "sys.exit(main(['apply', 'x.safetensors', '-o', 'y.pt', '--stats', 'plot.png']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[1] == (
        "hint: pip install 'dropcli[plots]', or write a page: --stats report.html"
    )
    assert not Path("y.pt").exists()


def test_data_suffixes_take_no_sample_and_no_libraries(run: Run) -> None:
    save_file({"x": torch.randn(5)}, "x.safetensors")
    code = (
        "import sys; from dropcli.cli import main; "
        "main(['apply', 'x.safetensors', '-o', 'y.pt', '-q', '--stats', 's.json']); "
        "sys.exit(bool({'jinja2', 'matplotlib', 'torch'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_images_are_shown_before_and_after(run: Run) -> None:
    x = torch.rand(20, 1, 8, 8)
    for path, options in (
        ("x.safetensors", ("-fo", "y.safetensors")),
        ("z.safetensors", ("--in-place",)),
    ):
        save_file({"x": x}, path)
        result = run("apply", path, *options, "-q", "--seed", 1, "--stream", "s", "--stats",
                     f"{path}.html")  # fmt: skip
        assert result.code == 0
    pages = [Path(f"{name}.safetensors.html").read_text() for name in "xz"]
    images = [Parsed(text).of("img") for text in pages]
    assert images[0] == images[1]
    assert "<figcaption>x (F32 20x1x8x8)" in pages[0]
    assert [image["alt"] for image in images[0]] == ["original", "after", "mask"] * 8
    y, samples = load_file("y.safetensors")["x"], [number * 20 // 8 for number in range(8)]
    high = y[samples].max()
    for row, sample in enumerate(samples):
        shown = [shades(image["src"] or "") for image in images[0][3 * row : 3 * row + 3]]
        for side, values in zip(shown, (x, y), strict=False):
            assert np.abs(side - (values[sample, 0] / high * 255).numpy()).max() <= 0.51
        assert np.array_equal(shown[2] == 255, y[sample, 0].numpy() != 0)


def shades(address: str) -> Any:
    """The grey pixels of an image in a page, of those that are 12 times as large as they were."""
    data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)[::12, ::12, 0].astype(float)


def test_large_images_leave_room_for_the_tables(run: Run) -> None:
    names = [f"{number}{'<&' * 90}" for number in range(6)]
    images = {name: torch.rand(9, 3, 128, 128) for name in names}
    save_file({**images, **{f"{name}x": torch.rand(9) for name in names}}, "x.safetensors")
    text = page(run, "--all-floats")
    assert 400_000 < len(text.encode()) < 1_000_000
    rows = [image["alt"] for image in Parsed(text).of("img")]
    assert rows == ["original", "after", "mask"] * 3
    assert "Only the samples of 3 of 4 tensors are shown" in text


def test_a_dataset_shows_its_first_file_with_images(run: Run) -> None:
    Path("data").mkdir()
    save_file({"x": torch.rand(9, 2)}, "data/0.safetensors")
    Path("data/1.pt").write_bytes(b"nothing")
    for number in (2, 3):
        save_file({"x": torch.rand(9, 1, 8, 8)}, f"data/{number}.safetensors")
    assert run("apply", "data", "-o", "out", "-q", "--stats", "r.html").code == 3
    text = Path("r.html").read_text()
    assert "Of out/2.safetensors, the first output with images." in text
    assert len(Parsed(text).of("img")) == 24


def test_ten_thousand_files_make_a_small_page(run: Run) -> None:
    """What grows with the number of files ends long before."""
    sizes = []
    for files in (250, 500):
        folder = Path(f"{files}")
        folder.mkdir()
        for number in range(files):
            name = f"{number:05}{'<&' * 60}.safetensors"
            save_file({f"x{number:05}": torch.rand(2, 8, 8)}, folder / name)
        run("apply", folder, "-o", f"out{files}", "-q", "--seed", 1, "--stats", f"{files}.html")
        sizes.append(len(Path(f"{files}.html").read_bytes()))
        assert f"The first 200 of {files} files." in Path(f"{files}.html").read_text()
    assert sizes[1] < 1.01 * sizes[0] < 1_000_000
