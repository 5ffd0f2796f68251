"""What to type for the flags that are no closed set, and what must be refused.

A value that does not begin with "--" follows its flag; "" leaves the flag out; one that does may bring other flags with
it. In braces stand the files and folders of `files.py`. The first value is the one that other flags are tried beside.
"""

DATA = ("{npz}", "--data mnist --data-dir {idx}", "digits")
EVERYWHERE = {
    "--data": DATA,
    "--data-dir": (),
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
    "--run-dir": ("run", ""),
    "--log-every": ("", "1"),
    "--checkpoint-seconds": ("", "0"),
    "--seeds": ("1", "2", "3"),
}
USE_CASE = EVERYWHERE | {
    "--epochs": ("1", "0", "2"),
    "--batch-size": ("64", "37", "1"),
    "--learning-rate": ("", "0.01"),
    "--hidden": ("8", "12 4"),
}
OWN_NETWORK = "{net} --names layers.0=front --flatten layers.2=2,28,28 --model tests.commands.network:make"
OPEN_FLAGS: dict[str, dict[str, tuple[str, ...]]] = {
    "train_ae": TRAINING | {"--hidden": ("", "6 3")},
    "train_cvae": TRAINING | {"--beta": ("", "0"), "--num-latent": ("", "1"), "--num-classes": ("", "0", "10", "12")},
    "train_dense_vae": TRAINING
    | {"--beta": ("", "0"), "--num-latent": ("", "1"), "--num-classes": ("", "10"), "--hidden": ("", "6 3")},
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
        "--run-dir": ("", "{cvae}", "--run-dir {cvae} --also {wide}", "--pretrained cvae-mnist"),
        "--out": ("", "samples.png", "samples.npz"),
        "--label": ("", "0", "9"),
        "--count": ("20", "1", "11"),
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
        "src": ("{ae}", "{cvae}", "{deep}/weights.safetensors", "{torch}", OWN_NETWORK),
        "dst": ("out.safetensors", "out.pt", "out.pth", "--inspect"),
        "--inspect": (),
        "--model": (),
        "--flatten": (),
        "--unflatten": ("",),
        "--names": (),
    },
    "benchmark": EVERYWHERE
    | {
        "--data": ("digits", "--data mnist --data-dir {idx}", "{npz}"),
        "--batch-size": ("32", "7"),
        "--rounds": ("1", "2"),
        "--turn-seconds": ("0.01",),
        "--contenders": ("jax_step", "jax_epoch jax_epoch_all jax_plain"),
        "--sweep": ("", "--sweep batch --sizes 8 16", "--sweep models --sizes 1 2"),
        "--sizes": (),
        "--examples": ("64", "50"),
        "--threads": ("", "1"),
        "--plot": ("", "plot.png"),
        "--compare": ("", "{benchmark}"),
    },
    "check_parity": {
        "--models": ("Autoencoder", "VAE", "'ConditionalVAE, 11 channels'"),
        "--rungs": ("losses", "layers", "initialisation step"),
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
# Values that do not go here, or not together ("&"), by scripts ("" is all that have them): what the script then says.
REFUSED: dict[str, dict[str, str]] = {
    "": {"--device gpu": "expected a (gpu that JAX can use|framework that can train here), got .*only: cpu"},
    "train_ae train_cvae train_dense_vae": {
        "--binarize & --replay torch-1": "expected no replay where pixels are binarized",
        "--binarize & --replay torch": "expected no replay where pixels are binarized",
        "--resume & --seeds 2": "expected one seed with --resume",
        "--resume & --seeds 3": "expected one seed with --resume",
        "--batch-size 201": "expected a batch size of at most the 200 training examples, got 201",
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
    ),
    "denoise": {
        "--image {character} --out clean.png & --corruption all": "expected the --corruption that --image suffers from",
        "--image {sheet} --out clean.png & --corruption all": "expected the --corruption that --image suffers from",
        "--image {nowhere} --out clean.png & --corruption gaussian": "expected an image file, got no ",
        "--image {sheet} --out {folder} & --corruption gaussian": "expected the name of a file to write, got ",
        "--image {sheet} & --corruption gaussian": "expected both --image and --out, or neither, got one",
    },
    "port_weights": {
        "--verify & --inspect": "expected DST to write to, or --inspect alone",
        "--to flax & out.pt": "expected",
        "--to flax & out.pth": "expected",
        f"--verify & {OWN_NETWORK}": "expected one of jaxae's own models to verify, got another",
    },
    "train_cvae": {
        "--num-classes 0 & --reconstruct-condition": "expected num_classes above 0",
        "--num-classes 9": "expected labels of the model's 9 classes, got a data set of 10",
    },
}
