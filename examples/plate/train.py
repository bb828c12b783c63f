"""Train the plate segmenter: python -m examples.plate.train [--steps N] [--out DIR]

Writes DIR/unet.pt. About ten minutes on one core; on a GPU it runs in mixed precision. The model that scores best
on validation seeds of the training domain is kept; the UNSEEN domain is looked at once, at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from edged.demo.plates import CLASSES, TRAIN, UNSEEN
from edged.inspection.confusion import Confusion
from examples.plate.data import MEAN, STD, crops, views
from examples.plate.net import UNet

CROP = 128


def normalised(images: np.ndarray, device: torch.device) -> torch.Tensor:
    """[N, H, W, 3] uint8 to [N, 3, H, W] float32, exactly as the exported graph does it."""
    x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (x - mean) / std


def loss_of(scores: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross entropy plus soft Dice, which keeps thin and rare classes from drowning in background."""
    share = scores.float().softmax(dim=1)
    wanted = F.one_hot(truth, scores.shape[1]).permute(0, 3, 1, 2).float()
    both, total = (share * wanted).sum(dim=(0, 2, 3)), (share + wanted).sum(dim=(0, 2, 3))
    dice = 1 - ((2 * both + 1) / (total + 1))[1:].mean()
    return F.cross_entropy(scores.float(), truth) + 0.5 * dice


@torch.no_grad()
def score(net: UNet, images: np.ndarray, labels: np.ndarray, device: torch.device) -> Confusion:
    net.eval()
    found = Confusion(len(CLASSES))
    for start in range(0, len(images), 8):
        guess = net(normalised(images[start : start + 8], device)).argmax(dim=1).to(torch.uint8).cpu().numpy()
        found.add(guess, labels[start : start + 8])
    net.train()
    return found


def tensorboard(folder: Path) -> Any:
    """A SummaryWriter, or None where TensorBoard is not installed."""
    with contextlib.suppress(ImportError):
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder))
    return None


def train(out: Path, steps: int, batch: int, seeds: int, per_seed: int, threads: int) -> dict[str, float]:
    """Returns the final `miou_seen` and `miou_unseen`; writes `out`/unet.pt."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    began = time.monotonic()
    images, labels = views(TRAIN, range(seeds), per_seed)
    check = views(TRAIN, range(10_000, 10_000 + max(1, seeds // 20)), 4)
    print(f"rendered {len(images)} views in {time.monotonic() - began:.0f} s; training on {device}", flush=True)

    net = UNet(len(CLASSES)).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps, pct_start=0.15)
    scaler = torch.amp.GradScaler(enabled=device.type == "cuda")
    rng, log, best = np.random.default_rng(0), tensorboard(out / "logs"), -1.0
    out.mkdir(parents=True, exist_ok=True)
    for step in range(1, steps + 1):
        x, truth = crops(images, labels, rng, batch, CROP)
        with torch.autocast(device.type, dtype=torch.float16, enabled=device.type == "cuda"):
            scores = net(normalised(x, device))
        loss = loss_of(scores, torch.from_numpy(truth).to(device).long())
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        if log and step % 20 == 0:
            log.add_scalar("train/loss", loss.item(), step)
        if step % max(1, steps // 20) == 0 or step == steps:
            miou = score(net, *check, device).miou
            print(
                f"{step:5d}/{steps}  loss {loss.item():.4f}  miou {miou:.4f}  {time.monotonic() - began:.0f} s",
                flush=True,
            )
            if log:
                log.add_scalar("check/miou", miou, step)
            if miou > best:
                best = miou
                torch.save(net.state_dict(), out / "unet.pt")
    if log:
        log.close()
    net.load_state_dict(torch.load(out / "unet.pt", map_location=device, weights_only=True))
    unseen = score(net, *views(UNSEEN, range(max(1, seeds // 10)), 6), device)
    print("unseen  " + "  ".join(f"{name} {iou:.4f}" for name, iou in zip(CLASSES, unseen.iou, strict=True)))
    print(f"miou seen {best:.4f}  unseen {unseen.miou:.4f}", flush=True)
    return {"miou_seen": best, "miou_unseen": unseen.miou}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("runs/plate"))
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=160, help="belts to render")
    parser.add_argument("--per-seed", type=int, default=16, help="plates from each belt")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    train(args.out, args.steps, args.batch, args.seeds, args.per_seed, args.threads)


if __name__ == "__main__":
    main()
