#!/usr/bin/env python3
"""The default training step, here in Python PyTorch and in flipside, timed in turn in one run.

Needs Debian's python3-torch and a release build:
    python3 bench/compare_pytorch.py build/release/bench/flipside_bench
or, on a GPU, a PyTorch with CUDA and a build against it:
    python3 bench/compare_pytorch.py build/gpu/bench/flipside_bench --device cuda

Same networks, losses, batch, optimiser and averaging on both sides. PyTorch runs in processes of its
own, in several ways (`CPU_WAYS`, `GPU_WAYS`): on the processor with its best settings (the same
threads, channels_last, and a C library that keeps freed memory, on huge pages) and unconfigured; on a
GPU eagerly in bfloat16, by torch.compile, and unconfigured. Prints milliseconds per step and the
ratios PyTorch / flipside (above 1: flipside is faster), round by round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

SLOPE = 0.1


class NormAct(nn.Module):
    def __init__(self, channels, slope=SLOPE, num_classes=0):
        super().__init__()
        self.norm = nn.GroupNorm(max(1, channels // 8), channels)
        self.slope = slope
        self.film = nn.Embedding(num_classes, 2 * channels) if num_classes else None

    def forward(self, x, target=None):
        h = self.norm(x)
        if self.film is not None:
            a, b = self.film(target)[:, :, None, None].chunk(2, 1)
            h = h * (1 + a) + b
        return F.leaky_relu(h, self.slope) if self.slope != 1 else h


class ConvBlock(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1, num_classes=0):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False)
        self.norm = NormAct(outputs, num_classes=num_classes)

    def forward(self, x, target=None):
        return self.norm(self.conv(x), target)


class ResidualBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first = ConvBlock(channels, channels, 3)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = NormAct(channels, slope=1)

    def forward(self, x):
        return F.leaky_relu(x + self.norm(self.second(self.first(x))), SLOPE)


def pooled(x):
    return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


class Generator(nn.Module):
    def __init__(self, widths=(16, 32, 64, 96), blocks=2, k=2):
        super().__init__()
        self.levels = nn.ModuleList([ConvBlock(3, widths[0], 3)])
        self.levels.extend(ConvBlock(a, b, 4, 2) for a, b in zip(widths, widths[1:]))
        self.residual = nn.ModuleList(ResidualBlock(widths[-1]) for _ in range(blocks))
        self.head = nn.Linear(2 * widths[-1], k)
        self.entry = ConvBlock(widths[-1], widths[-1], 3, num_classes=k)
        pairs = list(zip(widths, widths[1:]))[::-1]
        self.project = nn.ModuleList(nn.Conv2d(b, a, 1, bias=False) for a, b in pairs)
        self.merge = nn.ModuleList(ConvBlock(2 * a, a, 3, num_classes=k) for a, _ in pairs)
        self.output = nn.Conv2d(widths[0], 4, 3, padding=1)

    def forward(self, x, target):
        h, skips = x * 2 - 1, []
        for level in self.levels:
            h = level(h)
            skips.append(h)
        for block in self.residual:
            h = block(h)
        logits = self.head(pooled(h))
        h = self.entry(h, target)
        for project, merge, skip in zip(self.project, self.merge, skips[-2::-1]):
            up = F.interpolate(project(h), size=skip.shape[2:], mode="bilinear", align_corners=False)
            h = merge(torch.cat([up, skip], 1), target)
        raw = self.output(h)
        attention = torch.sigmoid(raw[:, 3:])
        return (x + attention * torch.tanh(raw[:, :3])).clamp(0, 1), logits, attention


class Discriminator(nn.Module):
    def __init__(self, widths=(24, 48, 96, 128), outputs=3):
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(ConvBlock(a, b, 4, 2) for a, b in zip(widths, widths[1:]))
        self.last = ConvBlock(widths[-1], widths[-1], 3)
        self.head = nn.Linear(2 * widths[-1], outputs)

    def forward(self, x):
        h = F.leaky_relu(self.stem(x * 2 - 1), SLOPE)
        for level in self.levels:
            h = level(h)
        return self.head(pooled(self.last(h)))


def within_mask(x, x_cf):
    change = x_cf - x
    s = change.abs().mean(1, keepdim=True)
    fixed, pixels = s.detach(), (1, 2, 3)
    level = (fixed.square().sum(pixels, keepdim=True)
             / fixed.sum(pixels, keepdim=True).clamp_min(1 / 255))
    return x + torch.sigmoid(4 * (s / (0.5 * level).clamp_min(1 / 255) - 1)) * change


class Step:
    """The joint step with the default weights, penalties at full strength."""

    def __init__(self, size, batch, way, device):
        place = {"device": device}
        if way != "unconfigured":
            place["memory_format"] = torch.channels_last
        self.half = torch.autocast(device, torch.bfloat16,
                                   enabled=device == "cuda" and way != "unconfigured")
        self.g, self.d = Generator().to(**place), Discriminator().to(**place)
        fused = {"fused": True} if device == "cuda" else {}
        self.g_opt = torch.optim.Adam(self.g.parameters(), lr=1e-3, betas=(0.5, 0.99), **fused)
        self.d_opt = torch.optim.Adam(self.d.parameters(), lr=4e-4, betas=(0.5, 0.99), **fused)
        self.averages = [[p.detach().clone() for p in m.parameters()] for m in (self.g, self.d)]
        self.x = torch.rand(batch, 3, size, size).to(**place)
        self.y = (torch.arange(batch) % 2).to(device)
        self.own = round(0.3 * batch)
        self.make, self.judge = self.g, self.d
        if way == "compiled":
            self.make, self.judge = torch.compile(self.g), torch.compile(self.d)

    def average(self, module, averages):
        with torch.no_grad():
            torch._foreach_mul_(averages, 0.99)
            torch._foreach_add_(averages, [p.detach() for p in module.parameters()], alpha=0.01)

    def __call__(self):
        own, x, y = self.own, self.x, self.y
        target = torch.cat([y[:own], 1 - y[own:]])
        with self.half:
            made, logits, attention = self.make(x, target)
        x_cf, t = made[own:], target[own:]
        with self.half:
            out = self.judge(torch.cat([x, x_cf.detach()]))
        fake = torch.full_like(t, 2)
        d_loss = F.cross_entropy(out[: len(x)], y) + 0.5 * F.cross_entropy(out[len(x):], fake)
        self.d_opt.zero_grad(set_to_none=True)
        d_loss.backward()
        self.d_opt.step()
        self.average(self.d, self.averages[1])
        self.d.requires_grad_(False)
        with self.half:
            judged, masked = self.judge(x_cf), self.judge(within_mask(x[own:], x_cf))
        g_loss = (
            F.cross_entropy(judged, t)
            + F.cross_entropy(judged[:, :2], t)
            + F.cross_entropy(masked[:, :2], t)
            + 6 * (made[:own] - x[:own]).abs().mean()
            + 4 * (x_cf - x[own:]).abs().mean()
            + 0.02 * attention[own:].mean()
            + 0.5 * F.cross_entropy(logits, y)
        )
        self.g_opt.zero_grad(set_to_none=True)
        g_loss.backward()
        self.g_opt.step()
        self.average(self.g, self.averages[0])
        self.d.requires_grad_(True)
        return d_loss.item() + g_loss.item()


# What the C library takes from the environment: never give memory back, ask for huge pages.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(64 << 20),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}

# How PyTorch is run, and what is measured. On a GPU "eager" is channels_last, autocast to bfloat16 and
# the fused optimiser, "compiled" the same by torch.compile.
CPU_WAYS = ("best", "unconfigured")
GPU_WAYS = ("eager", "compiled", "unconfigured")
CPU_SIZES = ((64, 32), (128, 16))
GPU_SIZES = ((64, 32), (128, 32), (256, 32))


def measure_pytorch(size, batch, seconds, threads, way, device):
    """Prints the median step in milliseconds."""
    if way != "unconfigured":
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = True
    step = Step(size, batch, way, device)
    for _ in range(3):
        step()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    print(1e3 * statistics.median(times))


def time_pytorch(size, batch, way, arguments):
    environment = {**os.environ, **(ALLOCATOR if way == "best" else {})}
    command = [sys.executable, __file__, "--measure", str(size), str(batch),
               str(arguments.seconds), str(arguments.threads), way, arguments.device]
    return float(subprocess.run(command, env=environment, check=True,
                                stdout=subprocess.PIPE).stdout)


def time_flipside(size, batch, arguments):
    kind = "train_step_bfloat16" if arguments.device == "cuda" else "train_step"
    output = subprocess.run(
        [arguments.program, f"--benchmark_filter=^{kind}/size:{size}/batch:{batch}/",
         "--benchmark_format=json", f"--benchmark_min_time={arguments.seconds}"],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return json.loads(output)["benchmarks"][0]["median_ms"]


def main():
    if sys.argv[1:2] == ["--measure"]:
        size, batch, seconds, threads, way, device = sys.argv[2:]
        return measure_pytorch(int(size), int(batch), float(seconds), int(threads), way, device)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", help="flipside_bench of a release build")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--sizes", nargs="+", metavar="PXxBATCH", help="as 64x32 (default: the usual)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="per measurement")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    on_gpu = arguments.device == "cuda"
    ways = GPU_WAYS if on_gpu else CPU_WAYS
    sizes = GPU_SIZES if on_gpu else CPU_SIZES
    if arguments.sizes:
        sizes = [tuple(map(int, size.split("x"))) for size in arguments.sizes]
    for size, batch in sizes:
        ratios = {way: [] for way in ways}
        for i in range(arguments.rounds):
            theirs = {way: time_pytorch(size, batch, way, arguments) for way in ways}
            ours = time_flipside(size, batch, arguments)
            for way in ways:
                ratios[way].append(theirs[way] / ours)
            print(f"{size} px, batch {batch}, round {i + 1}: flipside {ours:.1f} ms, PyTorch " +
                  ", ".join(f"{way} {theirs[way]:.1f} ms ({ratios[way][-1]:.2f})" for way in ways),
                  flush=True)
        print(f"{size} px, batch {batch}: median ratios " +
              ", ".join(f"{way} {statistics.median(ratios[way]):.2f}" for way in ways))


if __name__ == "__main__":
    main()
