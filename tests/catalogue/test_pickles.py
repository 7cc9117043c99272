"""Bad-input cases P27 to P38: the pickles in `.pt` files."""

import os
import pickle
import sys
from pathlib import Path

import pytest
import torch

from tests import oracle
from tests.builders import archive, changed, g, names_in, stack_global, tensor, tensor_pickle
from tests.conftest import Run, peak_megabytes, processor_seconds, shell
from tests.refusal import Refuse, assert_refused, check_refusal, snapshot

CALL = b"X\x01\x00\x00\x00a\x85R."


def pair(second: bytes) -> bytes:
    """Two tensors of one storage."""
    return archive(b"(" + tensor_pickle()[:-1] + second[:-1] + b"t.", **{"data/0": bytes(16)})


ENCODE = b"\x80\x02c_codecs\nencode\nX\x01\0\0\0a"


# id -> a whole file, the error's code, and what the error must name
FILES: dict[str, tuple[bytes, str, str]] = {
    "P30 other codec": (archive(ENCODE + b"X\x05\0\0\0rot13\x86R."), "program-in-data", ""),
    "P30 zip bomb codec": (archive(ENCODE + b"X\x03\0\0\0zip\x86R."), "program-in-data", ""),
    "P30 no codec": (archive(ENCODE + b"\x85R."), "program-in-data", ""),
    "P31 no stop": (archive(b"\x80\x02]"), "damaged-pickle", "3"),
    "P31 empty": (archive(b""), "damaged-pickle", "0"),
    "P31 underflow": (archive(b"\x80\x02R."), "damaged-pickle", "3"),
    "P31 memo": (archive(b"\x80\x02]r\xff\xff\xff\xffj\xff\xff\xff\xfe."), "damaged-pickle", ""),
    "P31 mark": (archive(b"\x80\x02]e."), "damaged-pickle", "4"),
    "P31 opcode": (archive(b"\x80\x02\xff."), "damaged-pickle", "3"),
    "P31 length": (archive(b"\x80\x02B\xff\xff\xff\xffabc."), "damaged-pickle", ""),
    "P31 length of 8 bytes": (archive(b"\x80\x04\x8e" + b"\xff" * 8 + b"."), "damaged-pickle", ""),
    "P31 integer": (archive(b"\x80\x02\x8b\xff\xff\xff\x7f."), "damaged-pickle", ""),
    "P31 digits": (archive(b"I" + b"9" * 100_000 + b"\n."), "damaged-pickle", ""),
    "P31 build": (archive(b"\x80\x02]}b."), "damaged-pickle", ""),
    "P31 extension": (archive(b"\x80\x02\x82\x01."), "pickle-extension", ""),
    "P36 text": (archive(b"\x80\x02X\1\0\0\0aQ."), "damaged-pickle", ""),
    "P36 text on a line": (archive(b"Pstorage\n."), "unsupported-format", "protocol 0"),
    "P36 short": (archive(b"\x80\x02X\x07\0\0\0storage\x85Q."), "damaged-pickle", ""),
    "P36 no tensor's storage": (tensor(key="../x"), "no-member", "data/../x"),
    "P36 stranger's storage": (
        archive(
            changed(tensor_pickle(), b"\nctorch\nFloat", b"\ncpackage\nFloat"),
            **{"data/0": bytes(16)},
        ),
        "damaged-storage", "",
    ),
    "P37 two dtypes": (pair(tensor_pickle().replace(b"Float", b"Int")), "two-dtypes", ""),
    "P37 two numbers": (pair(tensor_pickle(numel=8)), "wrong-size", "32 16"),
    "P38 offset": (tensor(offset=1), "outside-storage", ""),
    "P38 size": (tensor(size=5), "outside-storage", ""),
    "P38 stride": (tensor(size=2, stride=4), "outside-storage", ""),
    "P38 negative size": (tensor(size=-1), "damaged-tensor", ""),
    "P38 negative stride": (tensor(stride=-1), "damaged-tensor", ""),
    "P38 negative offset": (tensor(offset=-1), "damaged-tensor", ""),
    "bare pickle": (pickle.dumps({"a": 1}, 4), "unsupported-format", "pickle"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_refused(refuse: Refuse, case: str) -> None:
    assert_refused(refuse, *FILES[case])


PROGRAMS = {
    "P27 os.system": g("os", "system") + CALL,
    "P27 posix.system": b"cposix\nsystem\n(S'touch harmed'\ntR.",
    "P27 eval": g("builtins", "eval") + CALL,
    "P27 exec": stack_global("builtins", "exec") + CALL,
    "P27 getattr": g("builtins", "getattr") + CALL,
    "P27 runpy": g("runpy", "run_path") + CALL,
    "P27 inst": b"(S'touch harmed'\nios\nsystem\n.",
    "P27 obj": b"(cos\nsystem\nS'touch harmed'\no.",
    "P27 uuid": g("uuid", "_get_command_stdout") + CALL,
    "P27 torch import": g("torch._utils", "_import_dotted_name") + CALL,
    "P27 dotted pathlib": stack_global("pathlib", "os.system") + CALL,
    "P27 dotted collections": stack_global("collections", "_sys.modules") + CALL,
    "P27 dotted torch": stack_global("torch", "os.system") + CALL,
    "P27 dotted stranger": stack_global("mypackage", "os.system") + CALL,
    "P27 storage loader": g("torch.storage", "_load_from_bytes") + CALL,
    "P27 basichandlers": g("torch.utils.data.datapipes.utils.decoder", "basichandlers") + CALL,
    "P27 torch.save": g("torch", "save") + CALL,
    "P27 torch.hub": g("torch.hub", "load") + CALL,
    "P27 torch.jit": g("torch.jit", "load") + CALL,
    "P27 cpp_extension": g("torch.utils.cpp_extension", "load") + CALL,
    "P27 module in torch.nn": g("torch.nn.modules.module", "os") + b".",
    "P27 numpy.fromfile": g("numpy", "fromfile") + CALL,
    "P27 pip.main": g("pip", "main") + CALL,
    "P27 subprocess.Popen": g("subprocess", "Popen") + CALL,
    "P28 torch. _utils": g("torch. _utils", "_rebuild_tensor_v2") + CALL,
}
HOOK = """
import os, sys
armed = False
def audit(event, arguments):
    if armed and event in ("os.system", "os.exec", "subprocess.Popen", "os.posix_spawn"):
        sys.stderr.write("RAN " + event)
    if armed and event == "import" and arguments[0].split(".")[0] in ("runpy", "posix", "torch"):
        sys.stderr.write("RAN " + event)
sys.addaudithook(audit)
import dropcli.dataset.run  # with all that it imports by itself
from dropcli.cli import main
armed = True
for name in sorted(os.listdir("programs")):
    main(["apply", f"programs/{name}", "-o", "y.pt", "--json"])
"""


def test_p27_p28_programs_are_refused_and_never_run() -> None:
    os.mkdir("programs")
    for number, program in enumerate(PROGRAMS.values()):
        Path(f"programs/{number:02}.pt").write_bytes(archive(program))
    Path("hook.py").write_text(HOOK)
    before = snapshot()
    done = shell(f"ulimit -v 4000000; timeout 60 {sys.executable} hook.py")
    documents = done.stdout.decode().replace("}\n{", "}\n\0{").split("\0")
    errors = done.stderr.decode().replace("\nerror: ", "\n\0error: ").split("\0")
    for case, out, err in zip(PROGRAMS, documents, errors, strict=True):
        refusal = check_refusal(before, 0, done.returncode, out, err)
        assert refusal.code == "program-in-data", case


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("typing", "Any"),
        ("functools", "partial"),
        ("pathlib._local", "PosixPath"),
        ("re", "_compile"),
        ("random", "Random"),
        ("__builtin__", "type"),
        ("torch_geometric.data.data", "Data"),
        ("omegaconf.dictconfig", "DictConfig"),
        ("mypackage", "MakeSample"),
        ("torch.nn.modules.linear", "Linear"),
    ],
)
def test_what_people_keep_is_no_program(run: Run, module: str, name: str) -> None:
    Path("x.pt").write_bytes(archive(b"\x80\x02" + g(module, name) + b")R."))
    result = run("apply", "x.pt", "-o", "y.pt", "--eval")
    assert result.code == 0, result.err
    strangers = ("mypackage", "omegaconf.dictconfig", "torch_geometric.data.data")
    assert (f"{module}.{name}" in result.err) == (module in strangers)


def test_a_function_of_torch_is_kept_but_not_called(run: Run, refuse: Refuse) -> None:
    named = b"\x80\x02" + g("torch.nn.functional", "relu")
    Path("x.pt").write_bytes(archive(named + b"."))
    result = run("apply", "x.pt", "-o", "y.pt", "--eval")
    assert (result.code, "torch.nn.functional.relu" in result.err) == (0, False)
    Path("x.pt").write_bytes(archive(named + b")R."))
    assert refuse("apply", "x.pt", "-o", "z.pt").code == "program-in-data"


def test_unknown_classes_are_named_and_never_imported(run: Run) -> None:
    module = "tests_stranger_module"
    Path(f"{module}.py").write_text("class Thing:\n    pass\nprint('imported', flush=True)\n")
    save = f"import torch, {module} as m; t = m.Thing(); t.x = torch.ones(5); torch.save(t, 'x.pt')"
    assert shell(f'{sys.executable} -c "{save}"').returncode == 0
    done = shell("dropcli apply x.pt -o y.pt --seed 1 -q; dropcli info x.pt")
    assert b"imported" not in done.stdout
    assert names_in(run) == ["x"]
    result = run("apply", "x.pt", "-fo", "y.pt")
    assert f"{module}.Thing" in result.err


def test_verbose_names_every_unknown_class(run: Run) -> None:
    calls = b"".join(f"cpackage\nClass{i}\n)R".encode() for i in range(5))
    Path("x.pt").write_bytes(archive(b"\x80\x02](" + calls + b"e."))
    assert "package.Class2, ..." in run("apply", "x.pt", "-o", "y.pt", "--eval").err
    assert "package.Class3, package.Class4)" in run("apply", "x.pt", "-fvo", "y.pt", "--eval").err


def test_p28_a_lookalike_is_a_function_of_another_package(run: Run) -> None:
    cyrillic = tensor_pickle().replace(b"torch._utils", "t\u043erch._utils".encode())
    Path("x.pt").write_bytes(archive(cyrillic, **{"data/0": bytes(16)}))
    result = run("apply", "x.pt", "-o", "y.pt", "--json", "--eval")
    assert (result.code, result.errors) == (1, ["program-in-data"])
    assert "t\u043erch._utils._rebuild_tensor_v2" in result.err


@pytest.mark.parametrize("size", [b"J\xff\xff\xff\x7f", b"\x8a\x08" + b"\xff" * 7 + b"\x7f"])
def test_p29_what_asks_for_memory_gets_none(size: bytes) -> None:
    Path("x.pt").write_bytes(archive(b"\x80\x02cbuiltins\nbytearray\n" + size + b"\x85R."))
    assert peak_megabytes("apply", "x.pt", "-o", "y.pt", "--eval") < 100


parameter = b"\x80\x02" + g("torch._utils", "_rebuild_parameter")

BOMBS = {
    "a parameter of itself": parameter + b"]q\x01Rq\x02h\x01h\x02a0.",
    "doubling key": b"\x80\x02}K\x01" + b"2\x86" * 40 + b"Ns.",
    "nested key": b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"Ns.",
    "deep lists": b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".",
    "many dicts": b"\x80\x02" + b"}" * 5_000_000 + b".",
    "many marks": b"\x80\x02" + b"(" * 5_000_000 + b".",
    "long key over many": b"\x80\x02}X\x00\x00\x10\x00" + b"k" * (1 << 20)
    + b"](" + b"K\x01" * 20_000 + b"es.",
    "huge integer key": b"\x80\x02}\x8b\xa0\x0f\x00\x00" + b"\x7f" * 4000 + b"Ns.",
    "5,000 dimensions": b"\x80\x02" + g("torch._utils", "_rebuild_tensor_v2")
    + b"((X\x07\x00\x00\x00storage" + g("torch", "FloatStorage")
    + b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00("
    + b"J\xff\xff\xff\x7f" * 5000 + b"t(" + b"K\x01" * 5000 + b"t\x89"
    + g("collections", "OrderedDict") + b")RtR.",
}  # fmt: skip


@pytest.mark.parametrize("case", BOMBS)
def test_p33_p34_bombs_take_little_time_and_memory(case: str) -> None:
    Path("x.pt").write_bytes(archive(BOMBS[case], **{"data/0": bytes(16)}))
    started = processor_seconds()
    # 60 of these are for the interpreter and its libraries.
    assert peak_megabytes("info", "x.pt", codes=(0, 1)) < 300
    assert processor_seconds() - started < 20


def test_p33_a_list_of_itself(run: Run) -> None:
    Path("x.pt").write_bytes(archive(b"\x80\x02]q\0h\0a."))
    assert run("apply", "x.pt", "-o", "y.pt", "-q", "--eval").code == 0
    loaded = torch.load("y.pt", weights_only=True)
    assert loaded[0] is loaded


def test_p33_deep_lists_are_walked_without_recursion(run: Run) -> None:
    Path("x.pt").write_bytes(archive(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."))
    assert run("info", "x.pt", "--json").json["files"][0]["tensors"] == []


def test_p34_pickles_beyond_the_cap_are_not_read(refuse: Refuse) -> None:
    data = archive(b"\x80\x02" + bytes(1 << 28), **{"data/0": bytes(16)})
    assert_refused(refuse, data, "member-too-large", "268,435,458")
    Path("x.pt").write_bytes(archive(b"\x80\x02" + b"K\x01" * 2_000_000 + b"."))
    assert peak_megabytes("apply", "x.pt", "-o", "y.pt", "--eval") < 300


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_p35_every_protocol(run: Run, protocol: int) -> None:
    x = torch.rand(30)
    torch.save({"x": x, "b": b"bytes"}, "x.pt", pickle_protocol=protocol)
    assert run("apply", "x.pt", "-o", "y.pt", "--seed", 1, "-q").code == 0
    drop = oracle.dropped((30,), 0.5, oracle.key(1, "x", "x"))
    after = torch.load("y.pt", weights_only=False)
    assert oracle.equal_bits(after["x"], oracle.dropout(x, drop, 0.5))
    assert after["b"] == b"bytes"


@pytest.mark.parametrize(
    "damage",
    [
        (b"RtR.", b"RNNtR."),  # arguments too many
        (b"I00\n", b"I5\n"),  # whether it requires a gradient
        (b"V0\nV", b"V1\nV"),  # a storage that is not there
        (b"FloatStorage\nV", b"QInt8Storage\nV"),  # of another size
        (b"tR.", b"t0I5\n)R."),  # a call of a number
    ],
    ids=str,
)
def test_tensors_that_torch_would_not_build(run: Run, damage: tuple[bytes, bytes]) -> None:
    pickled = tensor_pickle()
    assert damage[0] in pickled
    Path("x.pt").write_bytes(archive(pickled.replace(*damage), **{"data/0": bytes(16)}))
    result = run("apply", "x.pt", "-o", "y.pt")
    assert (result.code, Path("y.pt").exists()) == (1, False)
