"""How names in a pickle are classified: programs, data, or classes of other packages."""

import os
import sys
from pathlib import Path

import pytest

from tests.builders import archive, g, stack_global, tensor_pickle
from tests.conftest import Run

# Python 3 turns names of Python 2 into these; and modules that other versions of Python have.
PROGRAMS = (
    "commands.getoutput cPickle.loads urllib2.urlopen httplib.HTTPSConnection thread.start_new "
    "SocketServer.TCPServer dumbdbm.open __builtin__.reduce itertools.imap "
    "test.support.script_helper.assert_python_ok _pyrepl.pager.pipe_pager imp.load_source "
    "pipes.Template distutils.spawn.spawn asyncore.dispatcher telnetlib.Telnet cgi.parse "
    "compression.zstd.open annotationlib.call_annotate_function binhex.hexbin"
)
DATA = (
    "copy_reg._reconstructor __builtin__.xrange __builtin__.unicode UserDict.UserDict "
    "exceptions.ValueError builtins.KeyError StringIO.StringIO "
    "torch.nn.modules.module._WrappedHook torch.nn.modules.linear._LinearWithBias "
    "torch.nn.modules.batchnorm._BatchNorm torch.optim.lr_scheduler._LRScheduler"
)


def names(text: str) -> list[tuple[str, str]]:
    return [(name.rpartition(".")[0], name.rpartition(".")[2]) for name in text.split()]


@pytest.mark.parametrize("name", names(PROGRAMS), ids=".".join)
def test_programs_are_refused_by_every_version_of_python(run: Run, name: tuple[str, str]) -> None:
    for named in (b"\x80\x02" + g(*name), stack_global(*name)):
        Path("x.pt").write_bytes(archive(named + b"."))
        result = run("info", "x.pt", "--json")
        assert (result.code, result.errors) == (1, ["program-in-data"])


def test_data_of_python_2_and_private_classes_of_torch_pass(run: Run) -> None:
    named = b"".join(g(*name) + b"0" for name in names(DATA))
    Path("x.pt").write_bytes(archive(named + tensor_pickle(), **{"data/0": bytes(16)}))
    result = run("apply", "x.pt", "-o", "y.pt", "--json")
    assert (result.code, result.warnings) == (0, [])
    assert result.json["files"][0]["tensors"][0]["action"] == "dropped"


def test_getattr_is_refused_with_a_neutral_message(run: Run) -> None:
    Path("x.pt").write_bytes(archive(g("__builtin__", "getattr") + b"."))
    result = run("info", "x.pt", "--json")
    (error,) = result.json["errors"]
    assert error["code"] == "program-in-data"
    assert error["message"] == "its pickle calls getattr, which can reach any function"
    assert error["hint"] == "if you trust it, load it with torch and save only its tensors"


def test_no_module_of_this_python_passes(run: Run) -> None:
    for module in sys.stdlib_module_names:
        Path(f"{module}.pt").write_bytes(archive(g(module, "function") + b"."))
    result = run("info", *sorted(os.listdir()), "--json")
    assert result.errors == ["program-in-data"] * len(sys.stdlib_module_names)


def test_classes_of_other_packages_pass_with_a_warning(run: Run) -> None:
    named = g("commandsets", "Net") + b"0" + g("mypackage.test", "Data") + b"0"
    Path("x.pt").write_bytes(archive(named + tensor_pickle(), **{"data/0": bytes(16)}))
    result = run("apply", "x.pt", "-o", "y.pt", "--json")
    assert (result.code, len(result.warnings)) == (0, 1)
    assert "commandsets.Net" in result.json["warnings"][0]["message"]


def test_a_key_that_is_not_unicode_is_named_as_the_reason(run: Run) -> None:
    key = "\udcff".encode("utf-8", "surrogatepass")
    data = b"}X\3\0\0\0" + key + tensor_pickle()[:-1] + b"s."
    Path("x.pt").write_bytes(archive(data, **{"data/0": bytes(16)}))
    result = run("info", "x.pt", "--json")
    assert (result.code, result.errors) == (1, ["name-not-unicode"])
    assert "its name is not valid Unicode" in result.json["errors"][0]["message"]
