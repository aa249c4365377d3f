#!/usr/bin/env python3
"""The default training step, here in Python PyTorch and in flipside, timed in turn in one run.

Needs Debian's python3-torch and a release build:
    python3 bench/compare_pytorch.py build/release/bench/flipside_bench

Same networks, losses, batch, optimiser and averaging on both sides. PyTorch runs twice, in processes
of its own: with its best settings (the same threads, channels_last, and a C library that keeps freed
memory, on huge pages), and unconfigured (its own number of threads, default layout, default
allocator). Prints milliseconds per step and the ratios PyTorch / flipside (above 1: flipside is
faster), round by round.
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


class Step:
    """The joint step with the default weights, penalties at full strength."""

    def __init__(self, size, batch, layout):
        layout = {"memory_format": layout}
        self.g, self.d = Generator().to(**layout), Discriminator().to(**layout)
        self.g_opt = torch.optim.Adam(self.g.parameters(), lr=1e-3, betas=(0.5, 0.99))
        self.d_opt = torch.optim.Adam(self.d.parameters(), lr=4e-4, betas=(0.5, 0.99))
        self.averages = [[p.detach().clone() for p in m.parameters()] for m in (self.g, self.d)]
        self.x = torch.rand(batch, 3, size, size).to(**layout)
        self.y = torch.arange(batch) % 2
        self.own = round(0.3 * batch)

    def average(self, module, averages):
        with torch.no_grad():
            torch._foreach_mul_(averages, 0.99)
            torch._foreach_add_(averages, [p.detach() for p in module.parameters()], alpha=0.01)

    def __call__(self):
        own, x, y = self.own, self.x, self.y
        target = torch.cat([y[:own], 1 - y[own:]])
        made, logits, attention = self.g(x, target)
        x_cf, t = made[own:], target[own:]
        out = self.d(torch.cat([x, x_cf.detach()]))
        fake = torch.full_like(t, 2)
        d_loss = F.cross_entropy(out[: len(x)], y) + 0.5 * F.cross_entropy(out[len(x):], fake)
        self.d_opt.zero_grad(set_to_none=True)
        d_loss.backward()
        self.d_opt.step()
        self.average(self.d, self.averages[1])
        self.d.requires_grad_(False)
        g_loss = (
            F.cross_entropy(self.d(x_cf), t)
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


def measure_pytorch(size, batch, seconds, threads):
    """Prints the median step in milliseconds; `threads` 0: unconfigured."""
    if threads:
        torch.set_num_threads(threads)
    step = Step(size, batch, torch.channels_last if threads else torch.contiguous_format)
    for _ in range(3):
        step()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    print(1e3 * statistics.median(times))


def time_pytorch(size, batch, seconds, threads):
    environment = {**os.environ, **(ALLOCATOR if threads else {})}
    command = [sys.executable, __file__, "--measure", *map(str, (size, batch, seconds, threads))]
    return float(subprocess.run(command, env=environment, check=True,
                                stdout=subprocess.PIPE).stdout)


def time_flipside(program, size, batch, seconds):
    name = f"train_step/size:{size}/batch:{batch}/"
    output = subprocess.run(
        [program, f"--benchmark_filter={name}", "--benchmark_format=json",
         f"--benchmark_min_time={seconds}"],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return json.loads(output)["benchmarks"][0]["median_ms"]


def main():
    if sys.argv[1:2] == ["--measure"]:
        size, batch, seconds, threads = map(float, sys.argv[2:])
        return measure_pytorch(int(size), int(batch), seconds, int(threads))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", help="flipside_bench of a release build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="per measurement")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    for size, batch in ((64, 32), (128, 16)):
        best, plain = [], []
        for i in range(arguments.rounds):
            tuned = time_pytorch(size, batch, arguments.seconds, arguments.threads)
            untuned = time_pytorch(size, batch, arguments.seconds, 0)
            ours = time_flipside(arguments.program, size, batch, arguments.seconds)
            best.append(tuned / ours)
            plain.append(untuned / ours)
            print(f"{size} px, batch {batch}, round {i + 1}: PyTorch {tuned:.0f} ms, unconfigured "
                  f"{untuned:.0f} ms, flipside {ours:.0f} ms, ratios {best[-1]:.2f} and "
                  f"{plain[-1]:.2f}", flush=True)
        print(f"{size} px, batch {batch}: median ratios {statistics.median(best):.2f} and "
              f"{statistics.median(plain):.2f}")


if __name__ == "__main__":
    main()
