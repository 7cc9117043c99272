"""Published files are applied, verified, converted, and compared with torch by tensor.

    pytest -m slow tests/test_published.py --packages FOLDER -s

FOLDER holds packages, as wheels, source archives or folders.
`published.md` lists those that were tried, and the files that are refused, with the reason.
"""

import fnmatch
import hashlib
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import oracle
from tests.conftest import Result, Run
from tests.published import only_tensors, read, tensor_files, tensors_in, unpacked

LISTED = Path(__file__).parent / "published.md"
ROW = re.compile(r"\| `(?P<file>[^`]+)` \| `(?P<code>[a-z-]+)` \| (?P<reason>.+) \|")
P, SEED = 0.3, 7
# Errors that are allowed for a file that torch itself refuses.
NOT_OPENED = {"program-in-data", "unreadable-legacy", "nothing-selected", "pickle-extension"}


class DoesNotHoldError(Exception):
    """A file or an output is wrong; the message says how."""


def check(run: Run, path: Path) -> str | None:
    """Check a file; return the code of the error if it is refused.

    Raises DoesNotHoldError for anything that is wrong.
    """
    before = hashlib.sha256(path.read_bytes()).digest()
    content, opens = read(path)
    output = Path(f"out{path.suffix or '.pt'}")
    for left in Path().glob("out*"):
        left.unlink()
    try:
        info = run("info", path, "--json")
        words = ("--seed", SEED, "--all-floats", "--json")
        applied = run("apply", path, "-o", output, "-p", P, *words)
        if info.code or (applied.code and applied.errors != ["nothing-selected"]):
            return refusal(info if info.code else applied, opens=opens, output=output)
        if applied.code:
            holds(not floats(content), "has float tensors, of which none was selected")
            applied = run("apply", path, "-o", output, "--eval", "--json")
        holds(applied.code == 0, applied.err)
        compare(content, output, applied.json["files"][0], opens=opens)
        verified = run("verify", output, "--source", path)
        holds(verified.code == 0, verified.err)
        check_conversion(run, path, content)
    finally:
        holds(hashlib.sha256(path.read_bytes()).digest() == before, "the source was changed")
    return None


def holds(condition: bool, problem: str) -> None:
    if not condition:
        raise DoesNotHoldError(problem)


def floats(content: Any) -> list[str]:
    tensors = tensors_in(content).items()
    return [name for name, x in tensors if x.dtype in oracle.FLOATS and x.numel()]


def refusal(result: Result, *, opens: bool, output: Path) -> str:
    """Check that the error is clean; return its code."""
    holds("Traceback" not in result.err and not output.exists(), result.err)
    (code,) = result.errors
    holds("damage" not in result.err, f"it is called damaged: {result.err}")
    holds(opens or code in NOT_OPENED, f"{code}: {result.err}")
    return code


def compare(content: Any, output: Path, report: dict[str, Any], *, opens: bool) -> None:
    """Names, dtypes, shapes, strides and every element, against torch and the contract."""
    after, still_opens = read(output)
    holds(still_opens or not opens, "torch opens the source, and not the output")
    x, y = tensors_in(content), tensors_in(after)
    holds([*x] == [*y], "the output has other tensors")
    told = {tensor["name"]: tensor for tensor in report["tensors"]}
    holds([*told] == [*x] or output.suffix == ".safetensors", f"names: {[*told][:5]}, {[*x][:5]}")
    for name, tensor in x.items():
        action, made = told[name]["action"], y[name]
        same = (made.dtype, made.shape, made.requires_grad, made.layout)
        holds(same == (tensor.dtype, tensor.shape, tensor.requires_grad, tensor.layout), name)
        if tensor.layout != torch.strided or tensor.is_quantized:
            continue
        holds(made.stride() == tensor.stride(), f"{name}: strides")
        expected = tensor.detach()
        if action == "tied":
            first = told[name]["tied_to"]
            holds(y[first].data_ptr() == made.data_ptr(), f"{name}: no longer tied to {first}")
            continue
        if action == "dropped":
            key = oracle.key(SEED, report["stream"], name)
            expected = oracle.dropout(expected, oracle.dropped(tuple(tensor.shape), P, key), P)
        holds(oracle.equal_bits(expected, made.detach()), f"{name}: {action}, and wrong")


def check_conversion(run: Run, path: Path, content: Any) -> None:
    """Convert to the other format and back with p 0; a refusal must be justified."""
    there, back = Path("out-there.safetensors"), Path("out-back.pt")
    converted = run("apply", path, "-o", there, "-p", 0, "--json")
    if converted.code:
        holds(not there.exists() and "Traceback" not in converted.err, converted.err)
        right = {"not-only-tensors": not only_tensors(content), "not-in-safetensors": True}
        holds(right.get(converted.errors[0], False), converted.err)
        return
    x, y = tensors_in(content), load_file(there)
    holds(x.keys() == y.keys(), "the conversion has other tensors")
    holds(all(oracle.equal_bits(x[name].detach(), y[name]) for name in x), "converted otherwise")
    holds(run("apply", there, "-o", back, "-p", 0).code == 0, "does not convert back")
    z = tensors_in(read(back)[0])
    holds(all(oracle.equal_bits(y[name], z[name]) for name in y), "converted back otherwise")


def listed(name: str, code: str) -> bool:
    """Whether `published.md` has the reason why this file is refused."""
    rows = [ROW.fullmatch(line) for line in LISTED.read_text().splitlines()]
    return any(row and fnmatch.fnmatch(name, row["file"]) and row["code"] == code for row in rows)


def judge(run: Run, folder: Path, unpacking: Path) -> tuple[int, list[str], list[str]]:
    """The number of files, the failures, and the refusals, with reasons."""
    wrong, refused, count, done = [], [], 0, set[bytes]()
    for package in sorted(folder.iterdir()):
        root = unpacked(package, unpacking)
        for path in tensor_files(root) if root.is_dir() else ():
            content = hashlib.sha256(path.read_bytes()).digest()
            if content in done:  # in two packages, or at two places of one
                continue
            done.add(content)
            count += 1
            name = f"{package.name}/{path.relative_to(root)}"
            try:
                if code := check(run, path):
                    refused.append(f"{name}: {code}")
                    if read(path)[1] and not listed(path.relative_to(root).as_posix(), code):
                        wrong.append(f"{name}: refused without a listed reason: {code}")
            except Exception as error:  # noqa: BLE001  # whatever it is, the file does not hold
                wrong.append(f"{name}: {type(error).__name__}: {str(error)[:500]}")
    return count, wrong, refused


@pytest.mark.slow
def test_published_files_pass(
    run: Run, pytestconfig: pytest.Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pytestconfig.getoption("packages")
    if not folder:
        pytest.skip("needs --packages FOLDER")
    start = Path(pytestconfig.invocation_params.dir)
    count, wrong, refused = judge(run, start / folder, tmp_path)
    with capsys.disabled():
        print()
        for line in (*(f"refused: {line}" for line in refused), *wrong):
            print(line)
        print(f"{count - len(wrong)} of {count} hold")
    assert count
    assert not wrong


# The check itself, on a folder made here.


def package(content: dict[str, Any]) -> None:
    """A package of one file of each kind."""
    os.makedirs("packages/made-1.0/weights")
    torch.save(content, "packages/made-1.0/weights/zip.ckpt")
    torch.save(content, "packages/made-1.0/weights/old", _use_new_zipfile_serialization=False)
    save_file({"x": torch.rand(5, 4)}, "packages/made-1.0/a.safetensors")
    torch.save(torch.nn.Sequential(torch.nn.Linear(4, 3)), "packages/made-1.0/module.pth")
    Path("packages/made-1.0/readme.bin").write_bytes(bytes(99))


def test_good_files_pass_and_wrong_outputs_fail(run: Run, tmp_path: Path) -> None:
    x = torch.rand(40, 3)
    package({"x": x, "tied": x, "t": x.T, "steps": 3, "deep": [{"y": torch.rand(9).half()}]})
    assert judge(run, Path("packages"), tmp_path) == (4, [], [])

    def with_other_seed(*words: object) -> Result:
        return run(*(8 if word == SEED else word for word in words))

    count, wrong, _ = judge(with_other_seed, Path("packages"), tmp_path)
    assert (count, len(wrong)) == (4, 4)


def test_a_refusal_passes_only_if_it_is_listed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.makedirs("packages/made")
    x = torch.rand(9)
    torch.save({"x": x, "part": x[3:]}, "packages/made/views.pt")
    refusals = ["made/views.pt: overlapping-tensors"]
    assert judge(run, Path("packages"), tmp_path) == (1, [], refusals)
    Path("other.md").write_text("| `b*` | `overlapping-tensors` | why |\n| `*` | `other` | why |\n")
    monkeypatch.setattr("tests.test_published.LISTED", Path("other.md"))
    wrong = ["made/views.pt: refused without a listed reason: overlapping-tensors"]
    assert judge(run, Path("packages"), tmp_path) == (1, wrong, refusals)
