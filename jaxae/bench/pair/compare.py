"""The benchmark of a pair of one's own: a network in both frameworks, on the same weights and inputs."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from jaxae.bench import environment
from jaxae.bench.case import GATE_STEPS
from jaxae.bench.pair.case import PairCase
from jaxae.bench.pair.contenders import REFERENCE, PairContender
from jaxae.bench.pair.result import PairEnvironment, PairResult
from jaxae.bench.pair.settings import PairSettings
from jaxae.bench.result import Gate
from jaxae.bench.worker import Worker, WorkerError
from jaxae.storage.files import check_new_folder

if TYPE_CHECKING:
    import optax
    import torch

    from jaxae.bench.pair.networks import JaxNetwork, TorchOptimizer
    from jaxae.port.options import PortOptions
    from jaxae.port.trial import Inputs

Log = Callable[[str], None]
_SETTINGS = PairSettings()


def compare(
    torch_module: "torch.nn.Module",
    nnx_module: "JaxNetwork",
    inputs: "Inputs",
    torch_loss: "Callable[..., torch.Tensor]",
    jax_loss: Callable[..., object],
    optimizers: "tuple[TorchOptimizer, optax.GradientTransformation] | None" = None,
    *,
    targets: "Inputs" = (),
    nnx_inputs: "Inputs | None" = None,
    nnx_targets: "Inputs | None" = None,
    torch_call: Callable[..., Any] | None = None,
    nnx_call: Callable[..., Any] | None = None,
    settings: PairSettings = _SETTINGS,
    log: Log = lambda line: None,
    **options: "Unpack[PortOptions]",
) -> PairResult:
    """Measure a network in both frameworks, in this process: inference, forward and backward, and training steps.

    A copy of the NNX module gets torch's weights, with proof. Each contender is timed only if its first 20 costs in
    training are those of eager torch; the weights, inputs and targets of each are the same. Networks, torch's settings
    and JAX's are afterwards as they were; what torch.compile has compiled is forgotten.

    Both frameworks share the process: the idle threads of one share the cores with the other, caches of compiled
    programs may be warm, and no contender has a peak memory of its own (None). `compare_file` and `jaxae bench --pair`
    run each contender in a process of its own, which is the cleaner way.

    Args:
        torch_module: Torch network.
        nnx_module: Its twin: an NNX module; a Linen module, which makes its own variables, or a `nnx.bridge.ToNNX` of
            one; or a pair of a function of parameters and inputs, and its parameters, a dict of Flax's names
            ({"layer": {"kernel": ..., "bias": ...}}), or a `jaxae.port.LinenView` of it where shapes leave open which
            layers they are of.
        inputs: Argument of the torch network, or a tuple of them: arrays, or shapes of arrays of normal numbers.
        torch_loss: Function of torch's result, the inputs and the targets that gives a scalar.
        jax_loss: The same of the twin's result, inputs and targets.
        optimizers: Function from torch's parameters to an optimizer, and an optax transformation; by default Adam with
            a learning rate of 1e-3.
        targets: What the losses take beside results and inputs, labels say: an array or a tuple of them.
        nnx_inputs: Arguments of the twin; by default torch's, with channels last where it then runs.
        nnx_targets: Targets of the twin's loss; by default torch's, images with channels last where inputs are.
        torch_call: Call of the torch network, `lambda module, *inputs: module(*inputs)[0]` say.
        nnx_call: Call of the twin.
        settings: Settings of the benchmark.
        log: Takes lines on progress.
        **options: Names, flatten and unflatten of `jaxae.port.PortOptions`.

    Raises:
        InputError: If the weights do not port, a loss gives no scalar, the device is not there, or a GPU is to be
            deterministic and `XLA_FLAGS` have not said so from the start.
        KeyboardInterrupt: If interrupted before the first kind of step had ended.
    """
    from jaxae.bench.pair.inside import Inside, settings_kept
    from jaxae.bench.pair.networks import NetworkPair
    from jaxae.bench.pair.prepare import prepare

    pair = NetworkPair(
        torch_module,
        nnx_module,
        inputs,
        torch_loss,
        jax_loss,
        optimizers,
        targets=targets,
        nnx_inputs=nnx_inputs,
        nnx_targets=nnx_targets,
        torch_call=torch_call,
        nnx_call=nnx_call,
        options=options,
    )
    if settings.trace is not None:
        check_new_folder(settings.trace)
    cores = environment.usable_cores(settings.threads)
    with settings_kept(settings, cores):
        prepared, halves = prepare(pair)
        name = type(torch_module).__name__
        case = PairCase(name, Path(), lambda one: Inside(one, halves), settings, prepared.batch, cores, log)
        return _measured(case, prepared.proof)


def compare_file(name: str, settings: PairSettings = _SETTINGS, *, log: Log = lambda line: None) -> PairResult:
    """Measure the pair that a function returns, FILE.py:make or package.module:make, called without arguments.

    Each contender runs in a process of its own, which calls the function again: what it makes must be of the same
    structure each time; its weights, inputs and targets are then those of the first call. Otherwise as `compare`.

    It returns a torch module, a JAX network, inputs, torch's loss and JAX's, and perhaps torch's optimizer and optax's,
    as a tuple; or a dict of arguments of `compare`, names, flatten and unflatten as its "options".

    Args:
        name: Name of the function.
        settings: Settings of the benchmark.
        log: Takes lines on progress.

    Raises:
        InputError: If there is no such function, it returns something else or other networks when called again, or what
            `compare` raises it for.
        KeyboardInterrupt: If interrupted before the first kind of step had ended.
    """
    variables = {**environment.variables(settings.device, deterministic=False), "JAX_PLATFORMS": "cpu"}
    if settings.trace is not None:
        check_new_folder(settings.trace)
    cores = environment.usable_cores(settings.threads)
    with tempfile.TemporaryDirectory(prefix="jaxae-pair-") as temporary:
        folder = Path(temporary)
        log(f"{name}: porting the weights")
        with Worker("jaxae.bench.pair.prepare", cores=None, environment=variables) as worker:
            try:
                proof, batch = worker.ask("prepare", name=name, folder=folder)
            except WorkerError as error:
                raise error.refusal(f"{name} to make a pair") from None

        def start(contender: PairContender) -> Worker:
            return _worker(contender, folder, settings, cores)

        return _measured(PairCase(name, folder, start, settings, tuple(batch), cores, log), proof)


def _worker(contender: PairContender, folder: Path, settings: PairSettings, cores: list[int]) -> Worker:
    """A process of a contender, which compiles anew, so that the time it takes is its own."""
    variables = environment.variables(settings.device, deterministic=settings.deterministic)
    variables["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp(prefix=contender.name, dir=folder)
    variables["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    if contender.framework == "torch":  # the user's function makes both networks
        variables["JAX_PLATFORMS"] = "cpu"
    return Worker(f"jaxae.bench.pair.{contender.framework}_worker", cores=cores, environment=variables)


def _measured(case: PairCase, proof: str) -> PairResult:
    settings, before = case.settings, environment.load()
    interrupted = False
    try:
        case.run()
    except KeyboardInterrupt:
        if not case.rows:
            raise
        interrupted = True
    machine = environment.machine(case.frameworks, settings.device, threads=len(case.cores), load_before=before)
    gate = Gate(GATE_STEPS, settings.tolerance, REFERENCE)
    where = PairEnvironment(
        **vars(machine),
        pair=case.pair,
        proof=proof,
        gate=gate,
        settings=settings,
        matmul_gflops={name: rate / 1e9 for name, rate in case.flops_per_s.items()},
        copy_gb_s={name: rate / 1e9 for name, rate in case.bytes_per_s.items()},
    )
    return PairResult(where, interrupted, tuple(case.rows))
