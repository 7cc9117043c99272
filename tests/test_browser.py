"""Pages in a browser: nothing is loaded, both colour schemes, phones and desktops."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.chromium import PROGRAM, Page, browser
from tests.conftest import Run

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium")

HOSTILE = (
    "<script>document.title='run'</script>",
    "<img src=http://evil.test/x.png onerror=\"document.title='run'\">",
    "x" * 190,
    "\u202egnp.elif",
    "a|b`c\\|d",
    "</style></title><h1>x",
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


TITLES = {
    "of a file": "Dropout of x.safetensors",
    "of a dataset": "Dropout of 31 files",
    "of a preview": "Preview of x.safetensors",
}


@pytest.fixture(params=TITLES)
def report(run: Run, request: pytest.FixtureRequest) -> tuple[Path, str]:
    """A page, and its title."""
    tensors = {name: torch.randn(40, 3, 8, 8) for name in HOSTILE}
    save_file({**tensors, "label": torch.arange(40)}, "x.safetensors")
    path, title = Path("report.html"), TITLES[request.param]
    if "preview" in title.lower():
        assert run("preview", "x.safetensors", "--copies", "3", "-o", path).code == 0
    elif "31" in title:
        Path("data").mkdir()
        Path("data/bad.pt").write_bytes(b"nothing")
        for number in range(31):
            save_file(
                {"x": torch.randn(9, 8), "label": torch.rand(9)}, f"data/{number}.safetensors"
            )
        assert run("apply", "data", "-o", "out", "--stats", path).code == 3
    else:
        assert run("apply", "x.safetensors", "-o", "y.safetensors", "--stats", path).code == 0
    return path, title


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_a_page_fits_its_window_and_loads_nothing(
    report: tuple[Path, str], page: Page, width: int, scheme: str
) -> None:
    path, title = report
    page.requests.clear()
    page.open(path, width, scheme)
    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.title") == title
    assert page.evaluate("document.querySelectorAll('h1').length") == 1
    luminance = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", luminance))) > 384) == (scheme == "light")
    assert page.screenshot()[:4] == b"\x89PNG"


def test_requests_of_pages_are_detected(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "loads.html"
    path.write_text("<img src='http://127.0.0.1:9/x.png'>")
    page.open(path, 320, "light")
    assert "http://127.0.0.1:9/x.png" in page.requests


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(report: tuple[Path, str], page: Page, scheme: str) -> None:
    """At least 4.5 to 1 between text and background (WCAG 2.2, 1.4.3)."""
    page.open(report[0], 1280, scheme)
    colors = page.evaluate(
        "[...document.querySelectorAll('p, th, td, dt, dd, h1, h2, figcaption, span, blockquote')]"
        ".map(element => getComputedStyle(element).color)"
    )
    background = _luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(colors) > 60
    for color in set(colors):
        low, high = sorted((_luminance(color), background))
        assert (high + 0.05) / (low + 0.05) >= 4.5, color


def _luminance(color: str) -> float:
    channels = [int(text) / 255 for text in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
