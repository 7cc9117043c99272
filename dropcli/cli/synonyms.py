"""Names of options and commands in other programs."""

# Options of other programs, with the corresponding option here.
_OPTIONS = {
    "-p": "--dropout --drop --drop-p --drop-prob --drop-rate --dropout-p --dropout-prob "
    "--dropout-rate --percent --prob --probability --proba --rate --ratio",
    "-k": "--include --layer --layers --match --name --names --only --select --tensor --tensors",
    "--exclude": "--ignore --skip --except",
    "--mode channel": "--channel --channels --channelwise --dropout2d --2d",
    "--mode pixel": "--pixel --pixels --pixelwise",
    "--mode sample": "--sample --samples --batch",
    "--mode feature": "--feature --features --column --columns",
    "--mode element": "--element --elements --elementwise",
    "--mode patch:": "--patch --patch-size --patches --block --block-size --cutout --dropblock",
    "--over": "--axes --axis --dim --dims --dimension --dimensions",
    "--no-rescale": "--no-scale --noscale --unscaled",
    "--rescale": "--scale",
    "--fill": "--value --fill-value --constant",
    "--p-per sample": "--per-sample --p-per-sample --sample-p",
    "--p-per file": "--per-file --p-per-file --file-p",
    "--seed": "--random-seed --random-state --manual-seed -s",
    "-o": "--out --out-dir --out-file --outdir --outfile --output-dir --output-file "
    "--output-folder --output-path --dest --destination --save --save-to --target --to -d -O",
    "--in-place": "--inplace",
    "--force": "--overwrite --clobber --replace --yes -y",
    "--copies": "--n-copies --num-copies --repeat --repeats --times --augment -c",
    "-j": "--cpus --cores --nproc --num-workers --parallel --processes --threads --worker "
    "--workers -t -w",
    "--shard": "--part --partition --split",
    "--scheduler": "--cluster --address --scheduler-address --scheduler-file",
    "--engine dask": "--dask --distributed",
    "--files-from": "--file-list --input-list --list --from-file -T",
    "--null": "--print0 --zero -z",
    "--resume": "--continue --restart",
    "--dry-run": "--dry --dryrun --simulate --no-act --what-if",
    "--stats": "--report --statistics --summary --log",
    "--stats report.csv": "--csv --table",
    "--stats report.html": "--html --page --histogram --histograms",
    "--stats report.md": "--md --markdown",
    "--stats report.png": "--figure --plot --plots",
    "-q": "--silent --no-progress --no-output",
    "-v": "--debug --all --verbosity",
    "--color never": "--no-color --no-colour --nocolor",
    "--color": "--colour --colors",
    "--source": "--src --input --original --reference --from --against",
}
MEANT = {name: option for option, names in _OPTIONS.items() for name in names.split()}
NOT_NEEDED = {
    **dict.fromkeys(("--recursive", "-r", "-R"), "folders are read with all folders in them"),
    **dict.fromkeys(
        ("--format", "--type", "--to-pt", "--to-safetensors"),
        "the suffix of the output chooses the format: -o y.pt or -o y.safetensors",
    ),
    **dict.fromkeys(
        ("--dtype", "--half", "--fp16", "--bf16", "--float16", "--bfloat16"),
        "tensors keep their data types; leave this out",
    ),
    **dict.fromkeys(("--device", "--cuda", "--gpu", "--cpu"), "dropcli always runs on the CPU"),
    **dict.fromkeys(
        ("--input", "--inputs", "--in", "--file", "--files", "-i"),
        "give the input files without an option",
    ),
    **dict.fromkeys(
        ("--keep", "--keep-prob", "--keep-rate", "--retain"),
        "-p is the probability of dropping: 1 minus that of keeping",
    ),
    **dict.fromkeys(("--version", "-V"), "dropcli --version"),
    **dict.fromkeys(
        ("--batch-size", "--chunk-size", "--buffer-size", "--chunks"),
        "files are read in pieces, however large they are; leave this out",
    ),
    **dict.fromkeys(
        ("--config", "--settings", "--params"),
        "settings are given as options, as in -p 0.3 --seed 7",
    ),
    "--no-clobber": "files that exist are kept, unless --force is given",
    **dict.fromkeys(
        ("--training", "--train"), "dropout is on unless --eval is given; leave this out"
    ),
}
COMMANDS = {
    "apply": "augment convert do drop dropout run",
    "info": "cat describe inspect list ls print show stat stats",
    "verify": "check compare test validate",
    "preview": "display image images plot view visualize",
    "mask": "masks",
}
TRUTHS = {
    **dict.fromkeys(("yes", "true", "on", "1", "y", "t"), True),
    **dict.fromkeys(("no", "false", "off", "0", "n", "f", "none"), False),
}
