"""Train the part segmenter: python -m examples.parts.train [--steps N] [--out DIR]

Writes DIR/parts.pt. Less than an hour on two cores. Nothing of the held-out seeds is looked at.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

from edged.demo.parts import CLASSES, FEWEST, MOST, View, render
from examples.parts.data import MEAN, STD, VALIDATION, crop
from examples.parts.loss import loss_of
from examples.parts.net import Parts
from examples.parts.shipped import load_start

CROP = 160


def normalised(images: np.ndarray) -> torch.Tensor:
    """[N, H, W, 3] uint8 to [N, 3, H, W] float32, exactly as the exported graph does it."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


def view_of(seed: int) -> View:
    """Of every other seed a view with more cracked parts than a belt has: they are few, and missing one costs most."""
    parts = FEWEST + seed % (MOST // 2)
    return render(seed) if seed % 2 == 0 else render(seed, parts, parts // 3)


def rendered(count: int, processes: int, first: int = 0) -> list[View]:
    """Views of the seeds from `first` on."""
    if first + count > VALIDATION:
        raise ValueError(f"seeds from {VALIDATION} on are held out")
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(view_of, range(first, first + count), chunksize=16))


def train(
    out: Path, steps: int, batch: int, count: int, threads: int, start: Path | None = None, first: int = 0
) -> float:
    """Returns the mean of the last losses; writes `out`/parts.pt. `start`: weights to go on from, a parts.pt or the
    folder of an engine; `first`: the seed of the first view."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    began = time.monotonic()
    seen = rendered(count, threads, first)
    print(f"rendered {len(seen)} views in {time.monotonic() - began:.0f} s", flush=True)
    net = Parts(len(CLASSES))
    if start is not None:
        load_start(net, start, [normalised(view.image[None]) for view in seen[:16]])
    net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-4)
    rate = 4e-3 if start is None else 2e-3
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps, pct_start=0.1)
    rng = np.random.default_rng(0)
    out.mkdir(parents=True, exist_ok=True)
    mean = 0.0
    for step in range(1, steps + 1):
        crops = [crop(seen[index], rng, CROP) for index in rng.integers(len(seen), size=batch)]
        loss, parts = loss_of(net(normalised(np.stack([item.image for item in crops]))), crops, rng)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        mean = loss.item() if step == 1 else 0.98 * mean + 0.02 * loss.item()
        if step % max(1, min(100, steps // 10)) == 0 or step == steps:
            shown = "  ".join(f"{name} {value:.3f}" for name, value in parts.items())
            print(f"{step:5d}/{steps}  loss {mean:.3f}  {shown}  {time.monotonic() - began:.0f} s", flush=True)
            torch.save(net.state_dict(), out / "parts.pt")
    return mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("runs/parts"))
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--views", type=int, default=1600, help="pictures to render, one a seed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="seed of the first picture")
    parser.add_argument("--start", type=Path, help="go on from these weights: a parts.pt, or an engine's folder")
    args = parser.parse_args()
    train(args.out, args.steps, args.batch, args.views, args.threads, args.start, args.first)


if __name__ == "__main__":
    main()
