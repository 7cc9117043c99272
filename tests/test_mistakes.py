"""Typing errors, and the hint that shows what was meant."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import Run, shell

APPLY = "apply x.pt -o y.pt"

# The command line, and its hint.
HINTS = {
    f"{APPLY} -p=0.3": "did you mean -p 0.3?",
    f"{APPLY} -p 30": "did you mean 0.3?",
    f"{APPLY} -p 2.5%": "did you mean 0.025?",
    f"{APPLY} -p 100%": "did you mean 1?",
    f"{APPLY} -p 0,3": "did you mean 0.3?",
    f"{APPLY} -p 1/4": "did you mean 0.25?",
    f"{APPLY} -p 0.5:0.1": "did you mean 0.1:0.5?",
    f"{APPLY} -p 5": "did you mean 0.05?",
    f"{APPLY} -p .5%": "did you mean 0.005?",
    f"{APPLY} -p 1.5": "as in -p 0.3, or -p 0.1:0.5 for a range",
    f"{APPLY} -p -0.3": "did you mean 0.3?",
    f"{APPLY} -p 0.3-0.5": "did you mean 0.3:0.5?",
    f"{APPLY} -p 0.3..0.5": "did you mean 0.3:0.5?",
    f"{APPLY} -p .3,.5": "did you mean .3:.5?",
    f"{APPLY} -p": "dropcli apply --help",
    f"{APPLY} -j=2": "did you mean -j 2?",
    "apply x.pt -o=y.pt": "did you mean -o y.pt?",
    f"{APPLY} --prob 0.3": "use -p 0.3",
    f"{APPLY} --probability=0.3": "use -p 0.3",
    f"{APPLY} --rate 0.3": "use -p 0.3",
    f"{APPLY} --dropout": "use -p",
    f"{APPLY} --drop 0.3": "use -p 0.3",
    f"{APPLY} --overwrite": "use --force",
    f"{APPLY} --yes": "use --force",
    "apply x.pt --out y.pt": "use -o y.pt",
    "apply x.pt --output-dir=y": "use -o y",
    "apply x.pt --outdir y": "use -o y",
    "apply x.pt -d y": "use -o y",
    f"{APPLY} --recursive": "folders are read with all folders in them",
    f"{APPLY} -r": "folders are read with all folders in them",
    f"{APPLY} --dry": "use --dry-run",
    f"{APPLY} --silent": "use -q",
    f"{APPLY} --quite": "did you mean --quiet?",
    f"{APPLY} --sed 1": "did you mean --seed?",
    f"{APPLY} --random-seed 1": "use --seed 1",
    f"{APPLY} -s 1": "use --seed 1",
    f"{APPLY} -seed 1": "did you mean --seed?",
    f"{APPLY} -workers 2": "use -j",
    f"{APPLY} --num-workers 2": "use -j 2",
    f"{APPLY} --channel": "use --mode channel",
    f"{APPLY} --dim 0": "use --over 0",
    f"{APPLY} --no-scale": "use --no-rescale",
    f"{APPLY} --no-color": "use --color never",
    f"{APPLY} --colour never": "use --color never",
    f"{APPLY} --tensor images": "use -k images",
    f"{APPLY} --value 1": "use --fill 1",
    f"{APPLY} --inplace": "use --in-place",
    f"{APPLY} --continue": "use --resume",
    f"{APPLY} --input x.pt": "give the input files without an option",
    f"{APPLY} --format pt": "the suffix of the output chooses the format: -o y.pt or -o "
    "y.safetensors",
    f"{APPLY} --cuda": "dropcli always runs on the CPU",
    f"{APPLY} --zzz": "dropcli apply --help",
    f"{APPLY} --seed:7": "did you mean --seed 7?",
    f"{APPLY} /seed 7": "did you mean --seed 7?",
    f"{APPLY} --no-seed": "leave --seed out",
    f"{APPLY} -n 4": "for copies use --copies 4, for workers -j 4; -n writes nothing",
    f"{APPLY} -n4": "for copies use --copies 4, for workers -j 4; -n writes nothing",
    f"{APPLY} --exact 0.3": "use --exact -p 0.3",
    f"{APPLY} --pixel": "use --mode pixel",
    f"{APPLY} --patch 4": "use --mode patch:4",
    f"{APPLY} --block-size": "use --mode patch:8",
    f"{APPLY} --batch-size 3": "files are read in pieces, however large they are; leave this out",
    f"{APPLY} --fill mean": "it is one number for all dropped elements, as in --fill 0.5",
    f"{APPLY} --fill 0,5": "did you mean 0.5?",
    f"{APPLY} --over 0;1": "did you mean 0,1?",
    "apply x.pt -o y.pt.gz": "outputs are not compressed: write y.pt, and compress that",
    "apply x.pt -o y.safetensor": "did you mean y.safetensors?",
    "apply --files-from x.pt -o y/": "it is not a list of files: give it without --files-from",
    f"{APPLY} -Z": "dropcli apply --help",
    f"{APPLY} --json=yes": "use --json",
    f"{APPLY} --over 0 1": "did you mean --over 0,1?",
    f"{APPLY} -p 0.1 0.5": "did you mean -p 0.1:0.5?",
    f"{APPLY} seed=7": "did you mean --seed 7?",
    f"{APPLY} --seed 1e3": "did you mean 1000?",
    f"{APPLY} --fp16": "tensors keep their data types; leave this out",
    f"{APPLY} --per-sample": "use --p-per sample",
    f"{APPLY} --rescale no": "use --no-rescale",
    f"{APPLY} --rescale true": "use --rescale",
    f"{APPLY} --in-place false": "leave --in-place out",
    f"{APPLY} --color purple": None,
    f"{APPLY} --mode chanel": "did you mean channel?",
    f"{APPLY} --mode Dropout2d": "did you mean channel?",
    f"{APPLY} --mode cutout": "did you mean patch:8?",
    f"{APPLY} --mode patch8": "did you mean patch:8?",
    f"{APPLY} --mode patch:4x4": "did you mean patch:4?",
    f"{APPLY} --over [0,1]": "did you mean 0,1?",
    f"{APPLY} --over batch": "did you mean --mode sample?",
    f"{APPLY} --seed random": "leave --seed out for a random one",
    f"{APPLY} --no-json": "leave --json out",
    f"{APPLY} --no-dry-run": "leave --dry-run out",
    f"{APPLY} --version": "dropcli --version",
    f"{APPLY} -q=1": "dropcli apply --help",
    "info x.pt --seed 3": "--seed is an option of dropcli apply",
    "info x.pt -o y.pt": "-o is an option of dropcli apply",
    "help masks pt": "dropcli help --help",
    "apply ": "is a shell variable unset?",
    f"{APPLY} --mode 0,1": "did you mean --over 0,1?",
    f"{APPLY} --over channel": "did you mean --mode channel?",
    f"{APPLY} --over patch:4": "did you mean --mode patch:4?",
    f"{APPLY} --color Never": "did you mean never?",
    f"{APPLY} --seed 1 --seed 2": None,
    f"{APPLY} -p --seed 1": "'--seed' is an option",
    "apply x.pt -o --seed 1": "'--seed' is an option",
    "apply x.pt -fo --seed 1": "'--seed' is an option",
    f"{APPLY} -force": "did you mean --force?",
    f"{APPLY} -seed=1": "did you mean --seed?",
    f"{APPLY} -quiet": "did you mean --quiet?",
    f"{APPLY} -overwrite": "use --force",
    f"{APPLY} -P 0.3": "did you mean -p?",
    f"{APPLY} -J 2": "did you mean -j?",
    f"{APPLY} --no_rescale": "did you mean --no-rescale?",
    f"{APPLY} --keep-prob 0.7": "-p is the probability of dropping: 1 minus that of keeping",
    f"{APPLY} –p 0.3": "use -p",
    f"{APPLY} —seed 7": "use --seed",
    f"{APPLY} -j auto": "leave -j out for one worker per core",
    "verify y.pt x.pt --color never": "dropcli verify y.pt --source x.pt",
    "apply x.pt y.pt": "dropcli apply x.pt -o y.pt",
    "apply": "dropcli apply --help",
    "info": "dropcli info --help",
    "x.pt": "dropcli apply x.pt -o OUTPUT",
    "new.pt": "dropcli apply new.pt -o OUTPUT",
    "x.pt -o y.pt -p 0.3": "dropcli apply x.pt -o y.pt -p 0.3",
    "-p 0.3 x.pt": "dropcli apply -p 0.3 x.pt -o OUTPUT",
    "--seed 3 apply x.pt": "did you mean dropcli apply --seed 3 x.pt?",
    "aply x.pt": "did you mean dropcli apply x.pt?",
    "Apply x.pt": "did you mean dropcli apply x.pt?",
    "dropout x.pt": "did you mean dropcli apply x.pt?",
    "show x.pt": "did you mean dropcli info x.pt?",
    "zzz": "dropcli --help",
    "--zzz": "dropcli --help",
    "verify y.pt x.pt": "dropcli verify y.pt --source x.pt",
    "verify y.pt": "dropcli verify y.pt --source INPUT",
    "verify y.pt --original x.pt": "use --source x.pt",
    "verify": "dropcli verify --help",
    "info x.pt --prob 1": "dropcli info --help",
    f"{APPLY} -p 30%%": "did you mean 0.3?",
    f"{APPLY} --over C": "dimensions are numbers: 0 is the first, -1 the last",
    f"{APPLY} --min-keep 50%": "it is a number of slices, as in --min-keep 1",
    f"{APPLY} --nodes 4": "dropcli apply --help",
    f"{APPLY} --html": "use --stats report.html",
    f"{APPLY} --stats out": "did you mean out.json?",
    f"{APPLY} --stats out.htm": "did you mean out.html?",
    f"{APPLY} --stats a/out.xlsx": "did you mean a/out.csv?",
    f"{APPLY} --stats .html": "name a file, as in --stats report.html",
    f"{APPLY} --stats a/": "name a file, as in --stats a/report.json",
    f"{APPLY} --stats -": "use --json for a report on standard output",
    "apply x.pt -oy.pt-p0.3": "did you mean -o y.pt -p0.3?",
    "apply x.pt -oy.pt-f": "did you mean -o y.pt -f?",
    "apply x.pt -o y/ --shard 3of4": "did you mean 3/4?",
    "apply x.pt -o y/ --shard 3": "the first of 8 shards is 1/8, the last is 8/8",
    "apply file:///data/x.pt -o y.pt": "did you mean /data/x.pt?",
    "apply S3://data/x.pt -o y.pt": "did you mean s3://data/x.pt?",
    "--apply x.pt": "did you mean dropcli apply x.pt?",
    "info x.pt --stats y.json": "use --stats --json > y.json",
    f"{APPLY} --cluster tcp://host:8786": "use --scheduler tcp://host:8786",
    f"{APPLY} --dask": "use --engine dask",
    "mask x.pt y.pt": "dropcli mask x.pt -o y.pt",
}


@pytest.fixture(autouse=True)
def _files() -> None:
    torch.save(torch.ones(4, 3), "x.pt")


@pytest.mark.parametrize("words", HINTS)
def test_a_mistake_has_its_hint(run: Run, words: str) -> None:
    result = run(*words.split(" "))
    assert (result.code, result.out) == (2, "")
    error, *hints = result.err.splitlines()
    assert error.startswith("error: ")
    assert "expected" not in error
    assert hints == ([f"hint: {HINTS[words]}"] if HINTS[words] else [])
    assert not Path("y.pt").exists()


def test_a_mistake_in_json(run: Run) -> None:
    for words, command in ((f"{APPLY} --json --prob 1", "apply"), ("x.pt --json", "")):
        result = run(*words.split(" "))
        assert (result.code, result.json["command"]) == (2, command)
        (error,) = result.json["errors"]
        assert error["code"] == "usage"
        assert f"error: {error['message']}\nhint: {error['hint']}\n" == result.err


def test_a_report_is_not_given_to_json(run: Run) -> None:
    result = run(*APPLY.split(), "--json", "out.json")
    assert (result.code, result.json["errors"][0]["hint"]) == (2, "use --stats out.json")


def test_what_was_meant_is_quoted(run: Run) -> None:
    save_file({"x": torch.ones(2)}, "my file.safetensors")
    result = run("my file.safetensors")
    assert "hint: dropcli apply 'my file.safetensors' -o OUTPUT\n" in result.err


def test_words_are_inputs_if_such_files_exist(run: Run) -> None:
    torch.save(torch.ones(4, 3), "no")
    assert run("apply", "x.pt", "--rescale", "no", "-o", "out").code == 0


def test_waiting_data_in_a_pipe_is_detected() -> None:
    for command in ("apply -o y.pt", "info"):
        done = shell(f"cat x.pt | dropcli {command}")
        assert done.stderr.endswith(b"hint: add - to read standard input\n")
        assert b"--help" in shell(f"dropcli {command} < /dev/null").stderr


def test_help_has_priority(run: Run) -> None:
    assert run("apply", "x.pt", "--rescale", "no", "-p", "7", "--help").code == 0


# Paths of files that do not exist, and the hint. x.pt is there, and folder/photos.pt.
PATHS = {
    "y.pt": None,
    "X.pt": "did you mean x.pt?",
    "x.tp": "did you mean x.pt?",
    "x.safetensors": "did you mean x.pt?",
    "folder/photo.pt": "did you mean folder/photos.pt?",
    "foldr/photos.pt": "did you mean folder/photos.pt?",
    "other/photos.pt": None,
    r"folder\photos.pt": "did you mean folder/photos.pt?",
    r"C:\data\x.pt": "in WSL this is /mnt/c/data/x.pt",
    "“x.pt”": "did you mean x.pt?",
    "x.pt,folder/photos.pt": "separate the inputs with spaces: x.pt folder/photos.pt",
    "~/no/such/x.pt": "the shell expands ~ only outside quotes",
    "$HOME/x.pt": "the shell does not expand variables in single quotes",
}


@pytest.mark.parametrize("path", PATHS)
def test_a_missing_file_has_its_hint(run: Run, path: str) -> None:
    Path("folder").mkdir()
    torch.save(torch.ones(4, 3), "folder/photos.pt")
    for words in (("apply", path, "-o", "new.pt"), ("info", path)):
        result = run(*words)
        hint = f"hint: {PATHS[path]}\n" if PATHS[path] else ""
        assert (result.code, result.err) == (1, f"error: {path}: no such file or directory\n{hint}")


def test_a_missing_file_of_several_has_its_hint(run: Run) -> None:
    result = run("apply", "x.pt", "x.pt,", "-o", "out/")
    assert result.code == 3
    assert result.err.endswith("no such file or directory\nhint: did you mean x.pt?\n")


# Command lines with inputs that do not exist, and the hint.
NO_INPUTS = {
    "apply -o x.pt new.pt": "did you mean dropcli apply x.pt -o new.pt?",
    "apply none/*.pt -o y/": "there is no folder none",
    "apply *.pth -o y/": "did you mean '*.pt'?",
    "apply y*.pt -o y/": "ls . shows what is there",
    "apply s3:/data/x.pt -o y.pt": "did you mean s3://data/x.pt?",
}


@pytest.mark.parametrize("words", NO_INPUTS)
def test_a_missing_input_has_its_hint(run: Run, words: str) -> None:
    result = run(*words.split(" "))
    error, hint = result.err.splitlines()
    assert (result.code, error[:7], hint) == (1, "error: ", f"hint: {NO_INPUTS[words]}")


@pytest.mark.parametrize("words", ["--version", "-V", "version"])
def test_all_spellings_of_version(run: Run, words: str) -> None:
    assert run(words).out == run("--version").out != ""
