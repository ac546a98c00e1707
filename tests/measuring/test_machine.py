"""Machine, GPU state, memory and probes: with a fake GPU library, and none."""

from __future__ import annotations

import gc
import json
import os
import re
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from backends.contract import Runtime, WeightSpec
from backends.errors import Unsupported
from harness import cores
from harness.measuring import gates, machine, memory, nvml, probes, spread
from tests.contract import fakes

pytestmark = pytest.mark.alone
OWN = os.getpid()


class FakeNvml:
    """A GPU library with one GPU."""

    NVML_CLOCK_SM = NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self, *, bits: int = 0, processes: tuple[int, ...] = (OWN,)) -> None:
        self.bits = bits
        self.processes = processes

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        if index:
            raise self.NVMLError("Not Found")
        return "handle"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid != "GPU-1":
            raise self.NVMLError("Not Found")
        return "handle"

    def nvmlDeviceGetUUID(self, handle: str) -> bytes:  # noqa: N802
        assert handle == "handle"
        return b"GPU-1"

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:  # noqa: N802
        assert handle == "handle"
        return self.bits

    def nvmlDeviceGetClockInfo(self, *of: object) -> int:  # noqa: N802
        return 1755 + len(of)

    def nvmlDeviceGetTemperature(self, *of: object) -> int:  # noqa: N802
        return 38 + len(of)

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:  # noqa: N802
        return 350_000 + len(handle)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:  # noqa: N802
        assert handle == "handle"
        return [SimpleNamespace(pid=pid, usedGpuMemory=5 << 20) for pid in self.processes]


def reasons(**gpu):
    return nvml.judge([nvml.sample(FakeNvml(**gpu), "handle")], OWN)


def test_a_quiet_gpu_is_fine():
    assert reasons() == []
    assert reasons(bits=0x1 | 0x2 | 0x10) == []
    # In a container our process has another id there.
    assert reasons(processes=(4_000_000,)) == []
    assert reasons(processes=()) == []


@pytest.mark.parametrize(
    ("bits", "name"),
    [(0x8, "hardware slowdown"), (0x20, "software thermal"), (0x80, "power brake")],
)
def test_a_throttled_gpu_is_invalid(bits, name):
    (reason,) = reasons(bits=bits)
    assert "throttled" in reason
    assert name in reason


def looks(*bits: int) -> list[nvml.GpuSample]:
    """A look at the GPU every 200 ms from time 0 on."""
    return [
        replace(nvml.sample(FakeNvml(bits=each), "handle"), time_ns=200_000_000 * number)
        for number, each in enumerate(bits)
    ]


def test_a_power_cap_is_a_doubt_with_its_share_and_clocks():
    samples = looks(0x4, 0x4, 0x4, 0)
    assert nvml.judge(samples, OWN) == []
    (doubt,) = nvml.power_capped(samples)
    assert "at its power cap 75% of the time (1757–1757 MHz)" in doubt
    assert nvml.power_capped(looks(0, 0)) == []


def test_only_the_timed_window_is_judged():
    # Hot while compiling, and again after the last query.
    samples = looks(0x40, 0, 0, 0, 0x40)
    assert nvml.judge(samples, OWN)
    assert nvml.judge(nvml.within(samples, (350_000_000, 700_000_000)), OWN) == []
    # A window between two samples is judged by the one before it.
    assert [one.time_ns for one in nvml.within(samples, (450_000_000, 460_000_000))] == [4 * 10**8]
    (reason,) = nvml.judge(nvml.within(looks(0, 0, 0x40, 0), (250_000_000, 500_000_000)), OWN)
    assert "50% of the time" in reason


@pytest.mark.parametrize("processes", [(OWN, 4_000_000), (4_000_000, 4_000_001)])
def test_a_shared_gpu_is_invalid(processes):
    (reason,) = reasons(processes=processes)
    assert "shared" in reason


def test_gpu_is_found_by_uuid_and_its_absence_is_a_sentence(monkeypatch):
    assert nvml.find_gpu(FakeNvml(), "GPU-1") == ("handle", "GPU-1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1,GPU-2")
    assert nvml.find_gpu(FakeNvml())[1] == "GPU-1"
    with pytest.raises(nvml.NoNvml, match="there is no GPU '7'"):
        nvml.find_gpu(FakeNvml(), "7")


def test_samples_survive_their_line_of_json():
    sample = nvml.sample(FakeNvml(bits=0x8), "handle")
    assert nvml.parse_sample(json.loads(json.dumps(asdict(sample)))) == sample


class Silent(FakeNvml):
    """A driver that does not tell, as virtual GPUs do."""

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:  # noqa: N802
        raise self.NVMLError(f"Not Supported: {handle}")


def test_a_driver_that_does_not_tell_is_a_reason_and_no_error():
    with pytest.raises(nvml.NoNvml, match="Not Supported"):
        nvml.sample(Silent(), "handle")
    unknown = nvml.process_bytes(Silent())
    assert unknown.bytes is None
    assert "Not Supported" in (unknown.reason or "")


def test_device_bytes_are_ours_or_unknown():
    assert nvml.process_bytes(FakeNvml()).bytes == 5 << 20
    unknown = nvml.process_bytes(FakeNvml(processes=(4_000_000,)))
    assert unknown.bytes is None
    assert "container" in (unknown.reason or "")


def test_watch_without_a_driver_has_a_reason(monkeypatch):
    def no_driver():
        raise nvml.NoNvml("GPU state is unknown: no NVIDIA driver answers.")

    monkeypatch.setattr(nvml, "load_nvml", no_driver)
    with nvml.GpuWatch() as watch:
        pass
    assert watch.reason == "GPU state is unknown: no NVIDIA driver answers."
    state = watch.judged((0, 1))
    assert state.reasons == ()
    # What nobody watched is not known to be quiet, hence not published.
    assert state.doubts == ("GPU state is unknown: no NVIDIA driver answers.",)
    assert nvml.gpu_title() is None


@pytest.mark.parametrize(
    ("processor", "gpu", "expected"),
    [
        ("AMD EPYC", None, "amd-epyc-2c"),
        ("AMD EPYC 7763 64-Core Processor", None, "amd-epyc-7763-2c"),
        (
            "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
            None,
            "intel-xeon-platinum-8481c-2c",
        ),
        ("Apple M2", None, "apple-m2-2c"),
        ("AMD EPYC", "NVIDIA H100 80GB HBM3", "nvidia-h100-80gb-hbm3-2c"),
        ("AMD EPYC", "NVIDIA A100-SXM4-40GB", "nvidia-a100-sxm4-40gb-2c"),
        ("AMD EPYC", "NVIDIA GeForce RTX 4090", "nvidia-geforce-rtx-4090-2c"),
        ("中", None, "unknown-2c"),
    ],
)
def test_hardware_names(processor, gpu, expected):
    assert machine.hardware_name(processor, 2, gpu) == expected


class Sliced(FakeNvml):
    """A GPU by its name, its memory and, cut into slices, the first of them."""

    def __init__(self, name: str, gib: float, slices: int = 0) -> None:
        super().__init__()
        self.name, self.gib, self.slices = name, gib, slices

    def nvmlDeviceGetName(self, _handle: str) -> str:  # noqa: N802
        return self.name

    def nvmlDeviceGetMemoryInfo(self, _handle: str) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=int(self.gib * 2**30))

    def nvmlDeviceIsMigDeviceHandle(self, handle: str) -> int:  # noqa: N802
        return int(handle == "slice")

    def nvmlDeviceGetMigMode(self, _handle: str) -> list[int]:  # noqa: N802
        if not self.slices:
            raise self.NVMLError("Not Supported")
        return [1, 1]

    def nvmlDeviceGetMigDeviceHandleByIndex(self, _handle: str, index: int) -> str:  # noqa: N802
        assert index == 0
        return "slice"

    def nvmlDeviceGetAttributes(self, handle: str) -> SimpleNamespace:  # noqa: N802
        assert handle == "slice"
        return SimpleNamespace(gpuInstanceSliceCount=self.slices, memorySizeMB=9856 * self.slices)


def test_devices_that_differ_do_not_share_a_folder():
    devices = {
        "nvidia-h100-pcie-80gb-2c": Sliced("NVIDIA H100 PCIe", 79.6),
        "nvidia-h100-80gb-hbm3-2c": Sliced("NVIDIA H100 80GB HBM3", 79.6),
        "nvidia-h100-80gb-hbm3-mig-1g-10gb-2c": Sliced("NVIDIA H100 80GB HBM3", 79.6, 1),
        "nvidia-a100-sxm4-40gb-2c": Sliced("NVIDIA A100-SXM4-40GB", 39.4),
        "nvidia-a100-sxm4-80gb-2c": Sliced("NVIDIA A100-SXM4-80GB", 79.3),
    }
    for expected, fake in devices.items():
        assert machine.hardware_name("AMD EPYC", 2, nvml.gpu_title(fake)) == expected


def test_a_gpu_that_nobody_names_is_not_filed_under_the_processor(monkeypatch):
    monkeypatch.setattr(nvml, "gpu_title", lambda: None)
    monkeypatch.setattr(machine, "_driver_title", lambda: None)
    made = machine.machine.__wrapped__("cuda")
    assert made.name.startswith("unidentified-gpu-")
    assert machine.machine.__wrapped__("cpu").name != made.name


def test_this_machine():
    found = machine.machine()
    assert re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", found.name)
    assert found.cores >= 1
    assert found.memory_bytes > 1 << 28
    assert os.uname().nodename not in found.model_dump_json()
    assert any("load average" in sentence for sentence in machine.state())


def test_other_load_is_said(monkeypatch):
    busy = iter([0.0, 2.0])
    clock = iter([10.0, 11.0])
    own = iter([0.0, 1.0])
    monkeypatch.setattr(machine, "_busy_s", lambda: next(busy))
    monkeypatch.setattr(machine, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(machine, "process_time", lambda: next(own))
    monkeypatch.setattr(cores, "count", lambda: 2)
    with machine.OtherLoad() as load:
        pass
    assert load.share == pytest.approx(0.5)
    assert load.sentence() == "other processes took 50% of this process's cores meanwhile."


def test_memory_by_name_with_reasons_for_what_is_unknown():
    gc.collect()  # what other tests left must not be given back in between
    meter = memory.Meter(fakes.FakeBackend(Runtime()), memory.ImportBaseline(), "cpu")
    meter.restart()
    block = np.ones(4 << 20, np.float64)
    found = memory.recorded(meter.peaks())
    assert set(found) == {
        "allocated_peak_bytes",
        "reserved_peak_bytes",
        "device_peak_bytes",
        "rss_peak_bytes",
    }
    assert found["rss_peak_bytes"].bytes == pytest.approx(block.nbytes, rel=0.5)
    for quantity in found.values():
        assert (quantity.bytes is None) == bool(quantity.reason)
        assert quantity.bytes != 0
    specs = [WeightSpec(name="a.kernel", shape=(3, 3, 1, 2), trainable=True)]
    assert memory.parameters(specs).bytes == 72


def test_peaks_of_the_queries_are_told_from_those_before():
    gc.collect()
    meter = memory.Meter(fakes.FakeBackend(Runtime()), memory.ImportBaseline(), "cpu")
    meter.restart()
    # What a compiler would take, and give back.
    np.ones(8 << 20, np.float64)
    whole = meter.peaks()["rss_peak_bytes"].bytes
    meter.restart()
    running = meter.running()
    assert whole is not None
    assert whole > 60 << 20
    rss = running["rss_running_peak_bytes"]
    assert rss.bytes is None or rss.bytes < whole / 2
    assert running["device_running_peak_bytes"].bytes is None


def test_a_shared_process_has_no_peaks_of_its_own():
    shared = memory.Meter(fakes.FakeBackend(Runtime()), memory.ImportBaseline(), "cpu", shared=True)
    assert {own.reason for own in shared.peaks().values()} == {memory.SHARED}
    assert all(own.bytes is None for own in shared.running().values())


def test_tf32_is_found_by_computing():
    assert not probes.multiplies_in_tf32(fakes.FakeBackend(Runtime()), "fake")
    assert probes.multiplies_in_tf32(fakes.FakeBackend(Runtime(), coarse=True), "fake")


def test_peak_is_measured_or_left_out():
    fake = fakes.FakeBackend(Runtime())
    assert 1e8 < probes.peak_flops(fake, ["fake"], "cpu")["fake"] < 1e14
    assert 1e8 < probes.peak_by_numpy() < 1e14

    class Silent(fakes.FakeBackend):
        def product_seconds(self, *args, **options):
            raise Unsupported(f"{len(args)} {len(options)}")

    assert probes.peak_flops(Silent(Runtime()), ["fake"], "cuda") == {}
    assert probes.peak_flops(Silent(Runtime()), ["fake"], "cpu")["fake"] == probes.peak_by_numpy()


def test_the_peak_of_a_gpu_is_that_of_its_tensor_cores_and_not_of_its_launches():
    gpu = fakes.FakeGpu()
    peak = probes.peak_flops(gpu, ["fake"], "cuda")["fake"]
    assert peak == pytest.approx(gpu.FLOPS, rel=0.01)
    # A product of the size that does for a CPU would have called honest figures impossible.
    small = 2 * 1024**3 / gpu.product_seconds(1024, plan="fake", products=1)
    unet = 101.6e9
    honest_ms, impossible_ms = 1e3 * unet / (0.6 * gpu.FLOPS), 1e3 * unet / (3 * gpu.FLOPS)
    assert gates.faster_than_the_device(int(unet), 1, honest_ms, small)
    assert gates.faster_than_the_device(int(unet), 1, honest_ms, peak) is None
    assert gates.faster_than_products(int(unet), 1, honest_ms, peak) is None
    assert "not done" in (gates.faster_than_the_device(int(unet), 1, impossible_ms, peak) or "")


def test_a_small_card_is_measured_with_smaller_matrices():
    gpu = fakes.FakeGpu(memory_bytes=3 * 4 * 4096**2)
    peak = probes.peak_flops(gpu, ["fake"], "cuda")["fake"]
    assert peak == pytest.approx(gpu.FLOPS, rel=0.01)


def test_growth_gates_allow_five_per_cent():
    def steady(*medians_ms):
        return {2**i: np.full(64, each) for i, each in enumerate(medians_ms)}

    assert gates.throughput_falls(steady(10.0, 20.9, 40.0)) == {}
    assert list(gates.throughput_falls(steady(10.0, 21.1, 40.0))) == [2]
    assert gates.memory_shrinks({1: 100, 2: 96, 4: 200}) == {}
    assert list(gates.memory_shrinks({1: 100, 2: 94, 4: 200})) == [2]


def test_a_fall_within_the_spread_of_the_queries_is_none():
    random = np.random.default_rng(0)
    busy = {1: random.lognormal(0, 1, 64), 2: 2 * random.lognormal(0.1, 1, 64)}
    assert np.median(busy[2]) / 2 > 1.05 * np.median(busy[1])
    assert gates.throughput_falls(busy) == {}


def test_a_busy_machine_is_no_cache():
    """Bursts that hit new inputs alone, as one query in four is a repeat: not enough to accuse."""
    random = np.random.default_rng(1)
    accused = doubted = 0
    for _ in range(300):
        latency_ns = (1e6 * random.lognormal(0, 0.8, 64)).astype(np.int64)
        finding = gates.remembered(latency_ns)
        accused += finding is not None and finding.certain
        doubted += finding is not None
    assert accused == 0
    assert doubted > 0
    cached = (1e6 * random.lognormal(0, 0.3, 64)).astype(np.int64)
    cached[3::4] //= 10
    finding = gates.remembered(cached)
    assert finding is not None
    assert finding.certain


def test_bounds_hold_the_median():
    random = np.random.default_rng(2)
    for count in (8, 16, 64):
        inside = 0
        for _ in range(2000):
            low, high = spread.median_bounds(random.exponential(1, count))
            inside += low <= np.log(2) <= high
        assert inside / 2000 >= 0.985
    assert spread.median_bounds(np.ones(7)) == (-np.inf, np.inf)


def test_ties_are_no_other_masks():
    logits = np.array([[[[1.0, 1.0005], [0.0, 3.0]]]], np.float32)
    assert gates.other_masks(np.array([[[0, 1]]]), logits) is None
    assert gates.other_masks(np.array([[[1, 0]]]), logits) is not None
    assert gates.other_masks(np.array([[[1]]]), logits) is not None


def test_rounding_decides_where_a_value_is_unpooled():
    logits = np.zeros((1, 64, 64, 2))
    logits[..., 1] = 1
    masks = np.ones((1, 64, 64), np.uint8)
    masks[0, 0, :4] = 0
    assert gates.other_masks(masks, logits) is not None
    assert gates.other_masks(masks, logits, unpools=True) is None
    masks[0, 0, :21] = 0  # more than 0.5 %
    assert gates.other_masks(masks, logits, unpools=True) is not None


def test_a_mask_that_is_wrong_everywhere_is_no_tie():
    logits = np.stack([np.full((1, 20, 20), 10.0), np.full((1, 20, 20), 10.005)], axis=-1)
    wrong = np.zeros((1, 20, 20), np.uint8)
    assert gates.other_masks(wrong, logits) is not None
    few = np.ones((1, 20, 20), np.uint8)
    few[0, 0, 0] = 0
    assert gates.other_masks(few, logits) is None


def test_the_same_query_must_give_the_same_answer_again():
    masks = np.zeros((1, 20, 20), np.uint8)
    few, many = masks.copy(), masks.copy()
    few[0, 0], many[0, :2] = 1, 1
    assert gates.other_answer(masks, few) is None
    assert "40 of 400 pixels" in (gates.other_answer(masks, many) or "")
    assert "shape" in (gates.other_answer(masks, masks[0]) or "")


def test_only_winograd_explains_more_than_products():
    assert gates.faster_than_products(10**9, 1, 1.0, 2e12) is None
    assert "Winograd" in (gates.faster_than_products(10**9, 1, 1.0, 0.5e12) or "")
    assert gates.faster_than_the_device(10**9, 1, 1.0, 0.5e12) is None
    assert gates.faster_than_products(10**9, 1, 1.0, 0.4e12) is None
    assert "not done" in (gates.faster_than_the_device(10**9, 1, 1.0, 0.4e12) or "")


def test_names_that_are_cut_or_have_lost_letters_tell_machines_apart():
    long = "Prozessor mit einem sehr langen Namen der Reihe Nummer "
    names = [long + "1", long + "2", "Kärn 1", "Körn 1"]
    assert len({machine.hardware_name(name, 2, None) for name in names}) == 4
    assert all(len(machine.slug(name)) <= 48 for name in names)
