"""What to type for the flags that are no closed set, and what must be refused.

A value that does not begin with "--" follows its flag; "" leaves the flag out; one that does may bring other flags with
it. In braces stand the files and folders of `files.py`. The first value is the one that other flags are tried beside.
"""

DATA = ("{npz}", "--data mnist --data-dir {idx}", "digits")
EVERYWHERE = {
    "--data": DATA,
    "--data-dir": (),
    "--size": ("", "28"),
    "--test-share": ("",),  # which only data without a test set take: tests/data
    "--devices": ("", "1", "2"),
    "--json": ("table.json", ""),
    "--figure": ("figure.png", ""),
    "--seed": ("", "7"),
    "--pretrained": (),
    "--also": (),
}
TRAINING = EVERYWHERE | {
    "--epochs": ("1", "0", "2"),
    "--batch-size": ("200", "37", "1"),
    "--learning-rate": ("", "0"),
    "--config": ("",),  # of a run of the same network: tests/training/test_config_file.py
    "--run-dir": ("run", ""),
    "--log-every": ("", "1"),
    "--checkpoint-seconds": ("", "0"),
    "--wandb": ("",),  # a package of its own: tests/training/test_trackers.py
    "--seeds": ("1", "2", "3"),
    "--grad-clip-norm": ("", "0.5"),
    "--weight-decay": ("", "0.1"),
    "--patience": ("", "1"),
    "--ema-decay": ("", "0.9"),
    "--warmup-steps": ("", "0"),  # a training of more than the one step has them: tests/training/test_course.py
    # Of several processes: tests/training/test_processes.py.
    **dict.fromkeys(("--coordinator", "--num-processes", "--process-id"), ("",)),
}
# A training of pixels that are not Bernoulli brings its scale along.
LIKELIHOOD = {
    "--likelihood": (
        "",
        "--likelihood gaussian",
        "--likelihood gaussian --scale fixed --scale-value 0.3",
        "--likelihood discretized-logistic --scale learned",
        "--likelihood discretized-logistic --scale per-pixel",
    ),
    "--scale": (),
    "--scale-value": (),
}
KL = {"--beta": ("", "0"), "--beta-warmup-epochs": ("0", "1"), "--free-bits": ("", "0.1")}
USE_CASE = EVERYWHERE | {
    "--epochs": ("1", "0", "2"),
    "--batch-size": ("64", "37", "1"),
    "--learning-rate": ("", "0.01"),
    "--hidden": ("8", "12 4"),
}
OWN_NETWORK = "{net} --names layers.0=front --flatten layers.2=2,28,28 --model tests.commands.network:make"
OWN_MODEL = "--model tests.commands.network:make"
OWN_PARTS = f"{{parts}} --names layers.0=front --ignore pe --missing layers.2.* --prefix student {OWN_MODEL}"
OWN_PROOF = f"{{net}} --inputs 2x1x28x28 --torch-model tests.commands.network:make_torch {OWN_MODEL}"
NETWORK = "tests.commands.network:make"
SHAPE = "--inputs 2x1x28x28"
OPEN_FLAGS: dict[str, dict[str, tuple[str, ...]]] = {
    "train_ae": TRAINING | {"--hidden": ("", "6 3"), "--data": (*DATA, "{pictures}", "{csv}")},
    "train_cvae": TRAINING | {**KL, "--num-latent": ("", "1"), "--num-classes": ("", "0", "10", "12")},
    "train_dense_vae": TRAINING
    | {**KL, **LIKELIHOOD, "--num-latent": ("", "1"), "--num-classes": ("", "10"), "--hidden": ("", "6 3")},
    "train_conv_vae": TRAINING
    | {
        "--data": (*DATA, "{pictures} --size 16"),
        "--size": ("",),
        "--widths": ("4", "3 5"),
        **{**KL, **LIKELIHOOD, "--num-latent": ("", "1"), "--num-classes": ("", "10")},
    },
    "convert": {
        "data": ("{npz}", "mnist --data-dir {idx}", "digits", "{pictures} --grey"),
        "folder": ("records",),
        "--data-dir": (),
        "--size": ("", "28"),
        "--grey": ("",),
        "--test-share": ("",),
        "--shard-megabytes": ("", "1"),
    },
    "published": EVERYWHERE
    | {
        "--data": ("mnist", "--data mnist --data-dir {idx}"),
        "--runs": ("{vae}", "{vae} {dense}"),
        "--seeds": ("1",),
        "--cvae-epochs": ("1",),
        "--samples": ("2",),
        "--images": ("5",),
    },
    "anomaly": USE_CASE
    | {
        "--run-dir": ("", "{classes}"),
        "--vae-epochs": ("0", "1", "None"),
        "--num-latent": ("2", "1"),
        "--contamination": ("", "0.5"),
        "--label": ("", "0"),
    },
    "denoise": USE_CASE
    | {
        # None as the others are tried: a table goes with no file to write.
        "--json": ("", "table.json"),
        "--figure": ("", "figure.png"),
        "--run-dir": ("", "{ae}", "--pretrained ae-mnist", "--keep kept"),
        "--keep": (),
        "--deviation": ("", "1"),
        "--share": ("", "0.9"),
        "--side": ("", "1"),
        "--blocks": ("", "1"),
        "--measured": ("5", "60"),
        "--image": ("", "--image {character} --out clean.png", "--image {sheet} --out clean.png"),
        "--out": (),
    },
    "features": USE_CASE
    | {
        "--run-dir": ("", "{ae}", "--run-dir {vae} --also {ae} {deep}", "--pretrained vae-2d-mnist"),
        "--trees": ("2", "1"),
    },
    "generate": USE_CASE
    | {
        "--json": ("", "table.json"),
        "--figure": ("", "figure.png"),
        "--run-dir": ("", "{cvae}", "--run-dir {cvae} --also {wide}", "--pretrained cvae-mnist"),
        "--out": ("", "samples.png", "samples.npz"),
        "--label": ("", "0", "9"),
        "--count": ("20", "2", "11"),
    },
    "pretrain": USE_CASE
    | {
        "--run-dir": ("", "{ae}", "--pretrained ae-mnist"),
        "--labels": ("10", "10 20"),
        "--seeds": ("1", "2"),
        "--learning-rates": ("0.01", "0.001 0.1"),
        "--steps": ("2", "1"),
        "--validation": ("", "1"),
    },
    "reduce": USE_CASE
    | {
        "--run-dir": ("", "{ae}", "{deep}", "--pretrained ae-mnist"),
        "--sizes": ("2", "1 3"),
        "--neighbours": ("", "1", "300"),
        "--mapped": ("60", "5"),
    },
    "compress rate": USE_CASE
    | {
        "--run-dir": ("{ae}", "--run-dir {vae} --also {ae} {deep}", "--pretrained vae-2d-mnist"),
        "--steps": ("8", "0.5 100"),
    },
    "compress compress": EVERYWHERE
    | {
        "source": ("{sheet}", "{images}", "{character}"),
        "destination": ("coded",),
        "--run-dir": ("", "{ae}", "{vae}"),
        "--data": DATA[:2],
        "--step": ("", "0.5", "100"),
    },
    "compress decompress": {
        "source": ("{coded}",),
        "destination": ("plain.png", "plain.npy", "plain.npz", "plain.pgm"),
        "--run-dir": ("{ae}",),
    },
    "port_weights": {
        "src": ("{ae}", "{cvae}", "{deep}/weights.safetensors", "{torch}", OWN_NETWORK, OWN_PARTS, OWN_PROOF),
        "dst": ("out.safetensors", "out.pt", "out.pth", "--inspect"),
        "--inspect": (),
        "--model": (),
        "--flatten": (),
        "--unflatten": ("",),
        "--names": (),
        "--weights": ("",),
        "--allow": ("", "omegaconf my.package"),
        "--like": ("",),
        **dict.fromkeys(("--prefix", "--ignore", "--missing", "--torch-model", "--inputs"), ()),
    },
    "compare": {
        "networks": (f"{NETWORK} {NETWORK} {SHAPE}", f"{NETWORK} {NETWORK} --port --inputs 3x1x28x28"),
        **dict.fromkeys(("--inputs", "--port"), ()),
        "--record": ("",),  # of one network: tests/parity/test_judge.py
        "--json": ("", "found.json"),
        "--names": ("", "layers.0=front"),
        "--flatten": ("", "CHW", "layers.2=2,28,28"),
        "--unflatten": ("", "CHW"),
        "--steps": ("", "2"),
        "--learning-rate": ("", "0", "0.01"),
        "--loss": ("", "jax.numpy:sum", "jax.numpy:sum jax.numpy:sum"),
        "--tolerance": ("", "0.1"),
    },
    "translate": {
        "network": ("tests.commands.network:make_torch",),
        "--inputs": ("2x1x28x28",),
        "--out": ("net.py", ""),
        "--weights": ("",),
        "--save-weights": ("", "net.safetensors"),
        "--leaf": ("", "Flatten"),
        "--steps": ("1", "2"),
        "--json": ("", "net.json"),
    },
    "explore": EVERYWHERE
    | {
        "--run-dir": ("{ae}", "{vae}", "--pretrained cvae-mnist"),
        "--out": ("page",),
        "--images": ("20", "1"),
        "--serve": ("",),  # until Ctrl-C: tests/usecases/test_usecases_explore.py
        "--port": ("",),
    },
    "export": {
        "run": ("{ae}", "{vae}", "{cvae}", "--pretrained ae-mnist"),
        "--pretrained": (),
        "--onnx": ("model.onnx",),
        "--stablehlo": ("", "model.hlo"),
    },
    "benchmark": EVERYWHERE
    | {
        "--data": ("digits", "--data mnist --data-dir {idx}", "{npz}"),
        "--batch-size": ("32", "7"),
        "--rounds": ("1", "2"),
        "--turn-seconds": ("0.01",),
        "--contenders": ("jax_step", "jax_epoch jax_epoch_all jax_plain"),
        "--sweep": (
            "",
            "--sweep batch --sizes 8 16",
            "--sweep models --sizes 1 2",
            "--sweep threads --sizes 1",
            "--sweep devices --sizes 1 2",
        ),
        "--sizes": (),
        "--examples": ("64", "50"),
        "--threads": ("", "1"),
        "--plot": ("", "plot.png"),
        "--compare": ("", "{benchmark}"),
        "--trace": ("",),  # a new folder: tests/bench/test_pair.py
        # A network of one's own: tests/bench/test_pair.py
        **dict.fromkeys(("--pair", "--pair-contenders", "--tolerance", "--bfloat16-tolerance", "--page"), ("",)),
    },
    "compile_for": {
        "--programs": ("nothing",),
        **dict.fromkeys(("--launch-us", "--node-us", "--read-us"), ("", "2.5")),
    },
    "check_parity": {
        "--models": ("Autoencoder", "VAE", "'ConditionalVAE, 11 channels'"),
        "--rungs": ("losses", "layers", "initialisation step", "trajectory"),
        "--steps": ("2",),
        "--full": ("",),  # an hour
        "--data-dir": ("",),
        "--mutation": ("",),  # status 1: tests/parity
        "--threads": ("", "2"),
        "--devices": ("", "2"),
        "--published": ("",),  # these replay for minutes: tests/parity
        "--log": ("",),
        "--output-leaky-relu": ("", "--no-output-leaky-relu"),
        **dict.fromkeys(("--hidden", "--num-latent", "--num-classes", "--beta", "--epochs", "--batch-size"), ("",)),
        **dict.fromkeys(("--learning-rate", "--seed"), ("",)),
        "--workers": ("1", "2"),
        "--json": ("", "rows.json"),
        "--plot": ("", "plot.png"),
    },
}
# Values that do not go here, or not together ("&"), by commands ("" is all that have them): what the script then says.
REFUSED: dict[str, dict[str, str]] = {
    "": {
        "--device gpu": "expected a (gpu that JAX can use|framework that can train here), got .*only: cpu",
        "--upright": "expected upright for EMNIST alone",
        "--stream yes": "expected a folder that jaxae convert wrote, got ",  # of which tests/commands has none
    },
    "train_ae, train_cvae, train_conv_vae, train_dense_vae": {
        "--binarize & --replay torch-1": "expected no replay where pixels are binarized",
        "--binarize & --replay torch": "expected no replay where pixels are binarized",
        **{
            f"{flag} & --replay {replay}": "expected no [a-z_]+ in a replay"
            for flag in (
                *("--grad-clip-norm 0.5", "--weight-decay 0.1", "--schedule linear", "--schedule cosine"),
                *("--keep best", "--patience 1", "--ema-decay 0.9"),
            )
            for replay in ("torch-1", "torch")
        },
        "--tensorboard & --seeds 2": "expected one seed with --tensorboard",
        "--tensorboard & --seeds 3": "expected one seed with --tensorboard",
        "--distributed auto": "expected (one seed in several processes|to join the other processes), got ",
        "--resume & --seeds 2": "expected one seed with --resume",
        "--resume & --seeds 3": "expected one seed with --resume",
        "--batch-size 201": "expected a batch size of at most the 200 training examples, got 201",
    },
    "train_cvae, train_conv_vae, train_dense_vae": {
        f"{flag} & --replay {replay}": "expected no [a-z_]+ in a replay"
        for flag in ("--beta-warmup-epochs 1", "--free-bits 0.1")
        for replay in ("torch-1", "torch")
    },
    "train_conv_vae, train_dense_vae": {
        **{
            f"--binarize & {value}": "expected a bernoulli likelihood where pixels are binarized"
            for value in LIKELIHOOD["--likelihood"][1:]
        },
        "--likelihood bernoulli --scale fixed": "expected no scale of a Bernoulli likelihood",
        "--likelihood bernoulli --scale-value 0.3": "expected no scale_value of a Bernoulli likelihood",
    },
    "anomaly": {"--pretrained ae-mnist": "expected a run directory with a config.json, got no "},
    "benchmark": {
        "--tf32": "expected tf32 and deterministic only with a gpu, got cpu",
        "--deterministic": "expected tf32 and deterministic only with a gpu, got cpu",
        "--sizes 8": "expected sizes only with a sweep",
    },
    "check_parity": dict.fromkeys(
        (
            *("--model cvae", "--model dense-vae", "--activation leaky_relu", "--activation relu", "--activation tanh"),
            *("--initialization intended", "--initialization torch", "--reconstruct-condition"),
            *("--no-output-leaky-relu", "--replay torch", "--reduction sum", "--reduction batch_mean"),
        ),
        "expected --log FILE beside the settings of a log",
    )
    | {
        f"--plot plot.png & --rungs {rungs}": "expected the rung trajectory with --plot, got only "
        for rungs in ("losses", "layers", "initialisation step")
    },
    "compare": {"--steps 2 & --dtype bfloat16": "expected no --steps in bfloat16"},
    # Which takes packages of an environment of their own: tests/bench/test_compile_for.py.
    "compile_for": {"--programs nothing": "expected programs .* begin with train, .*, got 'nothing'"},
    "denoise": {
        "--image {character} --out clean.png & --corruption all": "expected the --corruption that --image suffers from",
        "--image {sheet} --out clean.png & --corruption all": "expected the --corruption that --image suffers from",
        "--image {nowhere} --out clean.png & --corruption gaussian": "expected an image file, got ",
        "--image {sheet} --out {folder} & --corruption gaussian": "expected the name of a file to write, got ",
        "--image {sheet} & --corruption gaussian": "expected both --image and --out, or neither, got one",
        **dict.fromkeys(
            (
                f"{flag} & --image {picture} --out clean.png"
                for flag in ("--json table.json", "--figure figure.png")
                for picture in ("{sheet}", "{character}")
            ),
            "expected (no --json and --figure beside --image|the --corruption that)",
        ),
    },
    "compress compress": {
        f"--data mnist --data-dir {{idx}} & --run-dir {run}": "expected no data_dir beside the path of the data"
        for run in ("{ae}", "{vae}")
    },
    "generate": {
        **dict.fromkeys(
            (
                f"{flag} & --out samples.{kind}"
                for flag in ("--json table.json", "--figure figure.png")
                for kind in ("png", "npz")
            ),
            "expected no --json and --figure beside --out",
        ),
        "--count 1": "expected a --count of 2 or more for the table",
    },
    "published": {
        "--data mnist --data-dir {idx} & --parts forest": "expected a batch size of at most the 200 training examples",
        "--data mnist --data-dir {idx} & --parts costs forest likelihood": "expected a batch size of at most the 200",
        "--data mnist --data-dir {idx} & --parts costs": "expected a log of 1 batches of 256 an epoch, got ",
    },
    "port_weights": {
        "--verify & --inspect": "expected DST to write to, or --inspect alone",
        "--to flax & out.pt": "expected",
        "--to flax & out.pth": "expected",
        **dict.fromkeys(
            (f"--verify & {source}" for source in (OWN_NETWORK, OWN_PARTS, OWN_PROOF)),
            "expected one of jaxae's own models to verify, got another",
        ),
        # What is left of the network without its first layer does not tell the order of its flatten; torch's files
        # ask for torch before that.
        **dict.fromkeys(
            (f"{OWN_PARTS} & {name}" for name in ("out.pt", "out.pth", "--to torch")),
            "expected (weights that port to (torch|Flax), got|torch, which out.pth? needs, got none)",
        ),
        **dict.fromkeys(
            (f"--untie & {source}" for source in ("{ae}", "{cvae}", "{deep}/weights.safetensors")),
            "expected no untie for weights in Flax's layout",
        ),
    },
    "train_cvae": {
        "--num-classes 0 & --reconstruct-condition": "expected num_classes above 0",
        "--num-classes 9": "expected labels of the model's 9 classes, got a data set of 10",
    },
}
