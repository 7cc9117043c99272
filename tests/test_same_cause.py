"""Errors of many files with one cause, and errors about words that are not files."""

import os
from pathlib import Path

import pytest
import torch

from tests.builders import sample, tree
from tests.conftest import SETTINGS, Run


def embeddings(count: int) -> None:
    Path("emb").mkdir()
    for number in range(count):
        torch.save({"emb": torch.ones(4, 3), "label": torch.ones(4)}, f"emb/{number:03}.pt")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_key_that_no_file_has_ends_the_run_at_the_eighth(run: Run, jobs: int) -> None:
    embeddings(30)
    words = ("apply", "emb", "-o", "out", "-k", "embs", *SETTINGS, "-j", jobs)
    result = run(*words)
    assert result.code == 1
    error, first, hint = result.err.splitlines()
    assert error.startswith("error: the first 8 of 30 files: ")
    assert "emb/000.pt" in first
    assert hint.startswith("hint: ")
    assert "22 files" in result.out
    assert tree("out") == {}
    copies = run(*words, "--copies", 3)
    assert copies.err.splitlines()[0] == error
    result = run(*words, "--json", "-v")
    places = [f"emb/{number:03}.pt" for number in range(8)]
    assert [error["source"] for error in result.json["errors"]] == places
    assert result.json["status"] == "error"
    assert [line.split(": ")[1] for line in result.err.splitlines()[::2]] == places


def test_a_file_among_the_first_that_fits_lets_each_fail_alone(run: Run) -> None:
    embeddings(30)
    torch.save({"embs": torch.ones(4, 3)}, "emb/005.pt")
    words = ("apply", "emb", "-o", "out", "-k", "embs", *SETTINGS)
    result = run(*words, "--json")
    assert (result.code, len(result.errors), list(tree("out"))) == (3, 29, ["005.pt"])
    assert "error: 29 files: " in result.err
    assert "emb/000.pt" in result.err
    assert "emb/001.pt" not in result.err


@pytest.mark.parametrize("count", [2, 8])
def test_few_files_are_all_tried(run: Run, count: int) -> None:
    embeddings(count)
    result = run("apply", "emb", "-o", "out", "-k", "embs", *SETTINGS, "--json")
    assert (result.code, len(result.errors)) == (1, count)
    assert f"error: {count} files: " in result.err


def test_two_causes_are_two_errors(run: Run) -> None:
    embeddings(10)
    Path("emb/003.pt").write_bytes(b"no")
    Path("emb/004.pt").write_bytes(b"no")
    torch.save({"other": torch.ones(4, 3)}, "emb/007.pt")
    result = run("apply", "emb", "-o", "out", "-k", "emb", *SETTINGS)
    assert result.code == 3
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert errors[0].startswith("error: 2 files: ")
    assert errors[1].startswith("error: emb/007.pt: ")


def test_settings_that_fit_no_file_change_no_file_in_place(run: Run) -> None:
    embeddings(12)
    before = tree("emb")
    result = run("apply", "emb", "--in-place", "--over", "5", *SETTINGS, "--json")
    assert (result.code, len(result.errors)) == (1, 8)
    assert tree("emb") == before
    result = run("apply", "emb", "--in-place", "--over", "5", *SETTINGS, "--json", "--resume")
    assert (result.code, len(result.errors)) == (1, 12)
    assert tree("emb") == before


def test_verify_reports_once_what_many_files_lack(run: Run) -> None:
    embeddings(3)
    Path("source").mkdir()
    result = run("verify", "emb", "--source", "source", "--json")
    assert result.errors == ["no-provenance"] * 3
    assert len(result.err.splitlines()) == 3


@pytest.mark.parametrize(
    ("url", "download"),
    [
        ("https://host/x.pt", "curl -LO https://host/x.pt"),
        ("hf://user/model/a/x.pt", "hf download user/model a/x.pt"),
        ("hf://datasets/user/data/x.pt", "hf download --repo-type dataset user/data x.pt"),
    ],
)
def test_unsupported_urls_are_refused(run: Run, url: str, download: str) -> None:
    sample("x.pt")
    for words in (
        ("apply", url, "-o", "y.pt"),
        ("mask", url, "-o", "y.pt"),
        ("diff", "x.pt", url),
        ("verify", url, "--source", "x.pt"),
        ("verify", "x.pt", "--source", url),
        ("info", url),
    ):
        result = run(*words, "--json")
        assert (result.code, result.errors) == (2, ["url"])
        assert result.json["errors"][0]["hint"] == f"download it first: {download}"
    for words in (("-o", url), ("-o", "y.pt", "--stats", f"{url}.json")):
        result = run("apply", "x.pt", *words, "--json")
        assert (result.code, result.errors) == (2, ["url"])
        assert "download" not in result.json["errors"][0]["hint"]
    assert os.listdir() == ["x.pt"]


@pytest.mark.parametrize("url", ["s3:/bucket/x.pt", "S3://bucket/x.pt"])
def test_urls_that_are_nearly_right(run: Run, url: str) -> None:
    sample("x.pt")
    for words in (("info", url), ("apply", url, "-o", "y.pt"), ("apply", "x.pt", "-o", url)):
        result = run(*words, "--json")
        assert result.json["errors"][0]["hint"] == "did you mean s3://bucket/x.pt?"
    assert (result.code, result.errors) == (2, ["url"])


def test_a_folder_that_is_called_like_a_url_is_a_folder(run: Run) -> None:
    Path("s3:/bucket").mkdir(parents=True)
    sample("s3:/bucket/x.pt")
    assert run("apply", "s3://bucket/x.pt", "-o", "y.pt", *SETTINGS).code == 0


def test_words_that_are_parsed_as_inputs_are_named(run: Run) -> None:
    sample("x.pt")
    result = run("apply", "x.pt", "labels", "-o", "y.pt", "-k", "images", "--json")
    assert (result.code, result.errors) == (2, ["not-a-folder"])
    assert "'labels' (no such file)" in result.err
    sample("z.pt")
    result = run("apply", "x.pt", "z.pt", "-o", "y.pt", "--json")
    assert result.json["errors"][0]["hint"] == "write -o y/ for a folder"


def test_a_folder_without_tensor_files_is_named(run: Run) -> None:
    Path("empty").mkdir()
    Path("empty/notes.txt").write_text("no")
    result = run("apply", "empty", "-o", "out/", "--json")
    (error,) = result.json["errors"]
    assert (result.code, error["code"], error["source"]) == (1, "no-files", "empty")
