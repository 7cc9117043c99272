"""The lines of the benchmark table: each with its data, its peer, and its budget."""

from tests.benchmarks import sides
from tests.benchmarks.data import GIB, KIB, MIB, Folder, Hole, Images, Layers, Recipe, Tensors
from tests.benchmarks.sides import cat, cp, cp_sync, one_worker, ours, piped, script
from tests.benchmarks.work import Faster, Line, Side, Times


def lines(*, quick: bool = False) -> list[Line]:
    """All lines; with `quick`, on little data to test that they work."""
    part, few = (1024, 50) if quick else (1, 1)
    return [
        *large_files(GIB // part),
        *small_work(),
        *kinds(256 * MIB // part),
        Line("tensors-torch", *both("torch_safetensors", Tensors(10_000 // few)), memory=None),
        *folders(few),
        *workers(2_000 // few, 32 * MIB // part),
        *sizes(part),
    ]


def both(peer: str, data: Recipe) -> tuple[str, Side, Side]:
    """The same work on some data, by dropcli and by a script."""
    return data.title, ours(data), script(peer, data)


def large_files(nbytes: int) -> list[Line]:
    data, layers = Images("F32", nbytes), Layers(nbytes)
    pt = Images("F32", nbytes, ".pt")
    copied = ours(data, "--no-sync")
    one = ours(layers, "-k", "layer.7", "--no-sync")
    return [
        Line("large-cp", f"{data.title}, --no-sync", copied, cp(data), Times(1.8, 1.2)),
        Line("large-cp-sync", data.title, ours(data), cp_sync(data), Times(1.3, 1.05)),
        Line("large-torch", *both("torch_safetensors", data), Faster(6, 12)),
        Line("large-pt-torch", *both("torch_pt", pt), Faster(6, 12)),
        Line("selected-cp", f"{layers.title}, one drops", one, cp(layers), Times(1.8, 1.2)),
        Line("p05-cp", f"{data.title}, p = 0.05", ours(data, p=0.05), cp(data), Times()),
        Line("p95-cp", f"{data.title}, p = 0.95", ours(data, p=0.95), cp(data), Times()),
        Line("pipe-cat", f"{data.title}, piped", piped(data), cat(data), Times()),
    ]


def small_work() -> list[Line]:
    """Small work, in which the start of a process or of a call takes most of the time."""
    data = Images("F32", 100 * KIB)
    pt = Images("F32", 100 * KIB, ".pt")
    drop = sides.sample("dropcli.drop", "dropcli")
    return [
        Line("small-torch", *both("torch_safetensors", data), Faster(6, 12)),
        Line("small-pt-torch", *both("torch_pt", pt), Faster(6, 12)),
        Line("small-import", data.title, ours(data), sides.IMPORT_TORCH),
        Line("help", "dropcli --help", sides.HELP, sides.IMPORT_TYPER, Times(1.5, 1)),
        Line(
            "drop",
            "20,000 samples of 1x28x28",
            drop,
            sides.sample("F.dropout", "torch"),
            Times(2.5, 1),
            memory=None,
        ),
    ]


def kinds(nbytes: int) -> list[Line]:
    """Other dtypes, other modes, and peers that process one image at a time."""
    f32, f16, bf16 = (Images(dtype, nbytes) for dtype in ("F32", "F16", "BF16"))
    channels = ours(f32, "--mode", "channel")
    blocks = ours(f32, "--over", "0,2:8,3:8")
    legacy = Images("F32", nbytes, "-legacy.pt")
    halves = [
        Line("f16-torch", *both("torch_safetensors", f16), Faster(5, 12)),
        Line("bf16-torch", *both("torch_safetensors", bf16), Faster(5, 12)),
    ]
    table = [
        ("legacy-torch", *both("torch_pt", legacy)),
        ("channels-torch", f"{f32.title}, channels", channels, script("torch_channels", f32)),
        ("blocks-torch", f"{f32.title}, blocks", blocks, script("torch_blocks", f32)),
        ("elements-numpy", *both("numpy_loop", f32)),
    ]
    for who in ("albumentations", "imgaug"):
        for kind, side in (("elements", ours(f32)), ("channels", channels), ("blocks", blocks)):
            loop = script(f"{who}_loop", f32, kind)
            table.append((f"{kind}-{who}", f"{f32.title}, {kind}", side, loop))
    return halves + [Line(*row) for row in table]


def folders(few: int) -> list[Line]:
    """Many files: compared with a loop, and the time per file for more files."""
    result = []
    for name, suffix in (("folder", ".safetensors"), ("folder-pt", ".pt")):
        data = Folder(2_000 // few, 50 * KIB, suffix)
        two, loop = ours(data, "-j", "2"), script("torch_folder", data)
        budget = Faster(3, 6) if name == "folder" else Faster()  # that of .pt is not set
        result.append(Line(f"{name}-torch", f"{data.title}, -j 2", two, loop, budget))

    thousand = Folder(1_000 // few, 4 * KIB)
    peer = sides.named("1,000 files", ours(thousand, units=thousand.count))
    for count in (100, 10_000, 100_000):
        files = Folder(count // few, 4 * KIB)
        # A hundred files are done before starting workers has paid off.
        ratio = Times(1.2) if count > 1_000 else Times()
        side = ours(files, units=files.count)
        line = Line(f"files-{count}", files.title, side, peer, ratio, long=count > 10_000)
        result.append(line)
    return result


def workers(count: int, nbytes: int) -> list[Line]:
    """The gain from a second worker, on small files and on large ones."""
    result = []
    for name, data in (("small", Folder(count, 50 * KIB)), ("large", Folder(16, nbytes))):
        two = ours(data, "-j", "2")
        line = Line(f"workers-{name}", f"{data.title}, -j 2", two, one_worker(data), Faster())
        result.append(line)
    return result


def sizes(part: int) -> list[Line]:
    """Memory for files of increasing size. The output goes to /dev/null.

    The last, because twenty gigabytes of zeros push all other data out of the page cache.
    """
    result = []
    for nbytes in (MIB, 100 * MIB, 2 * GIB, 20 * GIB):
        data = Hole(nbytes // part)
        side = ours(data, out="/dev/null")
        result.append(
            Line(f"memory-{nbytes // MIB}", f"{data.title}, to /dev/null", side, once=True)
        )
    return result
