"""A GPU described: what XLA has to know of it to compile for it, and its peak rates."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GPUDescription:
    """A GPU of NVIDIA's.

    Attributes:
        name: Name that the driver gives.
        compute_capability: Major and minor number.
        cores: Number of multiprocessors.
        clock_ghz: Highest clock of a multiprocessor.
        memory_bytes: Bytes of its memory.
        bandwidth: Bytes per second from and to its memory.
        l2_bytes: Bytes of its second cache.
        shared_bytes: Bytes of shared memory in a multiprocessor.
        tensor_flops: Multiplications and additions per second of bfloat16 on its tensor cores, of dense matrices.
    """

    name: str
    compute_capability: tuple[int, int]
    cores: int
    clock_ghz: float
    memory_bytes: int
    bandwidth: int
    l2_bytes: int
    shared_bytes: int
    tensor_flops: float

    @property
    def flops(self) -> float:
        """Multiplications and additions per second of float32 outside of tensor cores."""
        return 2 * _FPUS * self.cores * self.clock_ghz * 1e9

    @property
    def target(self) -> str:
        """The description as XLA reads it: a `GpuTargetConfigProto` in protobuf's text form."""
        major, minor = self.compute_capability
        device = {
            "threads_per_block_limit": 1024,
            "threads_per_warp": 32,
            "shared_memory_per_block": 48 * 1024,
            "shared_memory_per_core": self.shared_bytes,
            # A block may have all of it but the kibibyte that the system keeps for each block.
            "shared_memory_per_block_optin": self.shared_bytes - 1024,
            "threads_per_core_limit": 2048,
            "core_count": self.cores,
            "fpus_per_core": _FPUS,
            "block_dim_limit_x": 2**31 - 1,
            "block_dim_limit_y": 2**16 - 1,
            "block_dim_limit_z": 2**16 - 1,
            "thread_dim_limit_x": 1024,
            "thread_dim_limit_y": 1024,
            "thread_dim_limit_z": 64,
            "registers_per_core_limit": 2**16,
            "registers_per_block_limit": 2**16,
            "memory_bandwidth": self.bandwidth,
            "l2_cache_size": self.l2_bytes,
            "clock_rate_ghz": self.clock_ghz,
            "device_memory_size": self.memory_bytes,
            "device_address_bits": 64,
        }
        versions = dict.fromkeys(("driver_version", "runtime_version", "compile_time_toolkit_version"), _CUDA)
        named = {"device_vendor": "NVIDIA Corporation", "name": self.name, **versions, "dnn_version": _CUDNN}
        numbers = zip(("major", "minor", "patch"), _CUDNN.split("."), strict=True)
        lines = [
            "gpu_device_info {",
            *(f"  {key}: {value}" for key, value in device.items()),
            *(f'  {key}: "{value}"' for key, value in named.items()),
            f"  cuda_compute_capability {{ major: {major} minor: {minor} feature_extension: ACCELERATED_FEATURES }}",
            "}",
            'platform_name: "CUDA"',
            f"dnn_version_info {{ {' '.join(f'{part}: {number}' for part, number in numbers)} }}",
            f'device_description_str: "{self.name}"',
        ]
        return "\n".join(lines)


# Of compute capability 8.6 and later: CUDA C++ Programming Guide, "Arithmetic Instructions".
_FPUS = 128
# What the libraries of a machine with such a GPU would be.
_CUDA, _CUDNN = "13.0.0", "9.12.0"

# The card with HBM3 in an SXM5 socket. NVIDIA H100 Tensor Core GPU Architecture (white paper, 2022), for its cores; its
# data sheet for the tensor cores' rate; CUDA C++ Programming Guide, "Technical Specifications per Compute Capability",
# for shared memory and the limits above; clock, memory and bandwidth as XLA's own description of one has them
# (openxla/xla, xla/backends/gpu/target_config/specs/h100_sxm.txtpb).
H100 = GPUDescription(
    name="NVIDIA H100 80GB HBM3",
    compute_capability=(9, 0),
    cores=132,
    clock_ghz=1.98,
    memory_bytes=84_942_979_072,
    bandwidth=3_352_320_000_000,
    l2_bytes=50 * 2**20,
    shared_bytes=228 * 1024,
    tensor_flops=989.4e12,
)
