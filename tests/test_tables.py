"""Tables at the width of a screen, and the line that ends a run."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import SETTINGS, Run, on_terminal, shell

PARTS = ("mlp.down_proj", "mlp.up_proj", "self_attn.q_proj", "post_attention_layernorm")
WIDTHS = [40, 60, 80, 120]


def model(path: str, layers: int = 4) -> list[str]:
    """Make a file with the long names of a transformer; return them in file order."""
    names = [f"model.layers.{n}.{part}.weight" for n in range(layers) for part in PARTS]
    save_file({name: torch.randn(300, 400) for name in names}, path)
    return sorted(names)


def at(width: int, command: str, code: int = 0) -> list[str]:
    """The lines on standard output."""
    done = shell(command, COLUMNS=str(width))
    assert done.returncode == code, done.stderr
    return done.stdout.decode().splitlines()


def fits(names: list[str], shown: list[str]) -> bool:
    """Whether these names are shown in order, perhaps with parts left out."""
    patterns = [".+".join(map(re.escape, name.split("…"))) for name in shown]
    matched = [re.fullmatch(pattern, name) for pattern, name in zip(patterns, names, strict=True)]
    return all(matched) and len(set(shown)) == len(names)


@pytest.mark.parametrize("width", WIDTHS)
def test_long_names_lose_their_middle_and_nothing_is_broken(width: int) -> None:
    names = model("x.safetensors")[:10]
    command = "dropcli apply x.safetensors -fo y.safetensors -p 0.3 --seed 7"
    for lines in (at(width, command), at(width, "dropcli info x.safetensors")):
        assert max(map(len, lines)) <= width
        found = [line.split()[0] for line in lines if re.match(r"(model)?(\.|…)", line)]
        assert len(found) % 10 == 0
        for start in range(0, len(found), 10):
            assert fits(names, found[start : start + 10]), found


def test_names_are_whole_if_they_fit() -> None:
    names = model("x.safetensors")
    shown = "\n".join(at(200, "dropcli apply x.safetensors -o y.safetensors -v"))
    assert all(shown.count(name) == 2 for name in names)
    assert "…" not in shown


def test_a_single_name_keeps_its_ends() -> None:
    save_file({"model.layers.0.mlp.down_proj.weight": torch.ones(4)}, "x.safetensors")
    assert any(line.startswith("model…mlp.down_proj.weight ")
               for line in at(61, "dropcli info x.safetensors"))  # fmt: skip
    ascii_only = shell("dropcli info x.safetensors", COLUMNS="61", PYTHONIOENCODING="ascii")
    assert b"\nmodel...down_proj.weight " in ascii_only.stdout


def test_wide_characters_take_two_columns() -> None:
    save_file(
        {"日本語": torch.ones(4), "e\u0301": torch.ones(4), "x": torch.ones(4)}, "x.safetensors"
    )
    lines = at(60, "dropcli info x.safetensors")[-4:]
    places = [line.split("4 ")[0] for line in lines[1:]]
    assert places == ["e\u0301       ", "x       ", "日本語  "]


def test_rows_that_do_not_fit_are_lines_of_key_and_value() -> None:
    save_file({"images": torch.ones(30, 8), "labels": torch.arange(30)}, "x.safetensors")
    lines = at(24, "dropcli apply x.safetensors -o y.safetensors --seed 1 -k images")
    start = lines.index("labels")
    copied = ["  shape      30", "  dtype      I64", "  copied"]
    assert lines[start + 1 : start + 5] == [*copied, "images"]
    pairs = dict(line.split(None, 1) for line in lines[start + 5 : start + 11])
    assert list(pairs) == ["shape", "dtype", "decisions", "dropped", "p", "rate"]
    assert (pairs["shape"], pairs["decisions"], pairs["p"]) == ("30x8", "240", "0.5")
    (zeros,) = [line for line in lines if line.startswith("  zeros")]
    assert zeros.split() == ["zeros", "0", pairs["dropped"]]


def test_counts_that_are_all_zero_are_left_out(run: Run) -> None:
    save_file({"x": torch.tensor([1.0, 2, 3])}, "x.safetensors")
    plain = run("apply", "x.safetensors", "-o", "y.safetensors", "-p", 0).out
    assert not {"zeros", "NaN", "inf"} & set(plain.split())
    save_file({"x": torch.tensor([1.0, 2, torch.nan, 0])}, "x.safetensors")
    odd = run("apply", "x.safetensors", "-fo", "y.safetensors", "-p", 0).out
    assert {"zeros", "NaN", "inf"} & set(odd.split()) == {"zeros", "NaN"}


def test_tensors_are_in_the_order_of_the_file_everywhere(run: Run) -> None:
    # Wider kinds come first in a file, then names in order.
    tensors = {f"t{number:02}": torch.ones(4) for number in range(9, -1, -1)}
    save_file({**tensors, "a": torch.arange(4), "b": torch.ones(4).half()}, "x.safetensors")
    report = run("apply", "x.safetensors", "-o", "y.safetensors", "--json", "--all-floats").json
    order = [tensor["name"] for tensor in report["files"][0]["tensors"]]
    table = run("apply", "x.safetensors", "-o", "z.safetensors", "-v", "--all-floats").out
    info = run("info", "x.safetensors", "-v").out
    for text in (table, info):
        rows = [line.split()[0] for line in text.splitlines() if line[:1] in ("a", "b", "t")]
        assert [name for name in rows if name != "tensor"][: len(order)] == order
    # If there are many, those that drop are preferred, in the same order.
    brief = run("apply", "x.safetensors", "-o", "s.safetensors", "--all-floats").out
    rows = [line.split()[0] for line in brief.splitlines() if line[:1] in ("a", "t")]
    assert rows[: rows.index("tensor", 1)] == ["tensor", *(f"t{number:02}" for number in range(10))]
    assert "2 more tensors" in brief


def test_a_run_ends_with_what_it_wrote(run: Run) -> None:
    save_file({"x": torch.ones(4, 2)}, "x.safetensors")
    size = Path("x.safetensors").stat().st_size
    one = run("apply", "x.safetensors", "-o", "y.safetensors", "--no-provenance", *SETTINGS)
    assert one.out.splitlines()[-1] == f"✓ wrote y.safetensors ({size} bytes)"
    assert "wrote" not in run("apply", "x.safetensors", "-fo", "y.safetensors", "-n").out
    quiet = run("apply", "x.safetensors", "-fo", "y.safetensors", "-q")
    assert (quiet.out, quiet.err) == ("", "")
    piped = shell("dropcli apply x.safetensors -o - | cat >/dev/null").stderr.decode()
    assert re.fullmatch(r"✓ wrote \d+ bytes to standard output", piped.splitlines()[-1])
    ascii_only = shell("dropcli apply x.safetensors -o a.safetensors", PYTHONIOENCODING="ascii")
    assert ascii_only.stdout.splitlines()[-1].startswith(b"done: wrote a.safetensors (")


def test_many_files_end_with_a_line_on_standard_error(run: Run) -> None:
    several(4)
    done = run("apply", "data", "-o", "out", *SETTINGS)
    assert re.fullmatch(r"✓ wrote 4 files to out/: .* in .* s, .*/s\n", done.err)
    assert "written  4 files to out/, " in done.out
    again = run("apply", "data", "-o", "out", *SETTINGS, "--resume")
    assert again.err == "✓ nothing left to do\n"
    aloud = run("apply", "data", "-o", "v", *SETTINGS, "-v")
    assert aloud.err.startswith("slowest: v/")
    in_place = run("apply", "out", "--in-place", "-p", 0.3, "--seed", 8)
    assert "✓ wrote 4 files in place: " in in_place.err
    Path("data/2.safetensors").write_bytes(b"damaged")
    some = run("apply", "data", "-o", "some", *SETTINGS)
    assert some.code == 3
    assert some.err.startswith("wrote 3 of 4 files to some/: ")
    assert "✓" not in some.err
    again = run("apply", "data", "-o", "some", *SETTINGS, "--resume")
    assert again.err.startswith("wrote none of 1 file to some/\n")


def several(count: int) -> None:
    Path("data").mkdir()
    for number in range(count):
        save_file({"x": torch.ones(4, 2)}, f"data/{number}.safetensors")


def test_verify_shows_how_many_are_the_same(run: Run) -> None:
    several(2)
    run("apply", "data", "-o", "out", *SETTINGS)
    same = run("verify", "out", "--source", "data").out
    assert re.fullmatch(r"✓ verified 2 files: .*, the same byte for byte\n", same)
    path = Path("out/1.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    other = run("verify", "out", "--source", "data")
    assert other.code == 4
    assert other.out.splitlines()[-1] == "1 of 2 files are the same byte for byte"


def test_the_check_mark_is_green_on_a_terminal() -> None:
    several(2)
    _, _, shown = on_terminal("apply", "data", "-o", "out")
    assert b"\x1b[32m\xe2\x9c\x93\x1b[0m wrote 2 files to out/: " in shown
    _, _, plain = on_terminal("apply", "data", "-o", "plain", NO_COLOR="1")
    assert b"\xe2\x9c\x93 wrote 2 files to plain/: " in plain
    assert b"\x1b" not in plain


@pytest.mark.parametrize("width", range(40, 81, 4))
def test_no_part_of_a_dotted_name_is_cut(width: int) -> None:
    names = model("x.safetensors")
    lines = at(width, "dropcli apply x.safetensors -o y.safetensors --seed 1")
    cut = [word for line in lines for word in line.split() if "…" in word]
    parts = {part for name in names for part in name.split(".")}
    assert {part for word in cut for part in re.split("[….]", word) if part} <= parts
