"""Rendered piles of parts and their truth, and how what the example makes of them is scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edged.bundle.bundle import read_bundle
from edged.core.types import Instances
from edged.demo.parts import CLASSES, CRACKED, HELD_OUT, SIZE, VISIBLE, render
from edged.engine.registry import open_engine
from edged.inspection.evaluation import average_precision, confuse, draw
from edged.pipeline.golden import golden_check
from examples.parts.calibrate import ASKED, FILE, SHIFTS, calibrate, called_cracked, choose, read
from examples.parts.data import VALIDATION, crop
from examples.parts.export import score

SHIPPED = Path(__file__).parents[3] / "engines" / "parts" / "1"


def test_the_same_seed_gives_the_same_pile() -> None:
    first, again = render(5, 12, 2), render(5, 12, 2)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.owner, again.owner)
    assert not np.array_equal(first.image, render(6, 12, 2).image)
    assert first.image.shape == (SIZE, SIZE, 3)
    assert first.image.dtype == np.uint8


def test_every_part_is_seen_well_enough_to_be_told() -> None:
    view = render(3, 40, 3)
    assert 35 <= len(view.classes) <= 40
    assert int((view.classes == CRACKED).sum()) == 3
    masks = view.masks
    assert masks.shape == (len(view.classes), SIZE, SIZE)
    assert (masks.sum(axis=0) <= 1).all(), "a pixel belongs to one part"
    assert masks.sum(axis=(1, 2)).min() > 60
    touching = sum(bool((np.roll(view.owner, 1, 0) != view.owner)[mask].any()) for mask in masks)
    assert touching == len(masks)
    assert VISIBLE[True] > VISIBLE[False]


def test_crops_keep_image_and_truth_together() -> None:
    view = render(9, 15, 1)
    marked = type(view)(np.repeat((view.owner[..., None] > 0) * np.uint8(200), 3, 2), view.owner, view.classes)
    rng = np.random.default_rng(0)
    for _ in range(8):
        cut = crop(marked, rng, 160)
        assert cut.image.shape == (160, 160, 3)
        assert ((cut.image[..., 0] > 0) == (cut.owner > 0)).all()
        assert (cut.classes == view.classes[cut.numbers - 1]).all()
        for number, (left, top, right, bottom) in zip(cut.numbers, cut.boxes.astype(int), strict=True):
            rows, columns = np.nonzero(cut.owner == number)
            assert (left, top, right, bottom) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def found(masks: np.ndarray, classes: np.ndarray, scores: np.ndarray) -> Instances:
    boxes, parts = [], []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        parts.append(mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    return Instances(np.array(boxes, np.float32), scores.astype(np.float32), classes.astype(np.uint16), tuple(parts),
                     (SIZE, SIZE))  # fmt: skip


def test_average_precision_of_what_is_known() -> None:
    """All found: 1. The worse half of the scores is wrong: of every class what is right comes first. Nothing: 0."""
    view = render(2, 120)  # more than COCO's own limit of 100 a picture
    pytest.importorskip("pycocotools")
    drawn, count = draw(view.masks, view.classes), len(view.classes)
    perfect = found(view.masks, view.classes, np.ones(count))
    assert average_precision([(drawn, perfect)], CLASSES).ap50 == 1.0
    extra = np.concatenate([view.masks, np.roll(view.masks, SIZE // 2, axis=1)])
    twice = np.concatenate([view.classes, view.classes])
    ranked = found(extra, twice, np.concatenate([np.full(count, 0.9), np.full(count, 0.1)]))
    assert average_precision([(drawn, ranked)], CLASSES).ap50 > 0.999
    half = average_precision([(drawn, perfect), (drawn, found(view.masks[:1], view.classes[:1], np.ones(1)))], CLASSES)
    assert 0.45 < half.ap50 < 0.56
    none = Instances(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.uint16), (), (SIZE, SIZE))
    assert average_precision([(drawn, none)], CLASSES).ap50 == 0.0


def test_confusion_counts_what_was_mistaken_missed_and_made_up() -> None:
    pytest.importorskip("pycocotools")
    view = render(4, 12, 2)
    drawn = draw(view.masks, view.classes)
    wrong = view.classes.copy()
    wrong[0] = (wrong[0] + 1) % len(CLASSES)
    ghost = np.zeros((1, SIZE, SIZE), bool)
    ghost[0, 2:4, 2:4] = True
    masks, kinds = np.concatenate([view.masks[:-1], ghost]), np.append(wrong[:-1], 3)
    table = confuse(drawn, found(masks, kinds, np.ones(len(kinds))), len(CLASSES))
    assert table[view.classes[0], wrong[0]] == 1
    assert table[view.classes[-1], len(CLASSES)] == 1
    assert table[len(CLASSES), 3] == 1
    assert table.sum() == len(view.classes) + 1
    assert np.trace(table) == len(view.classes) - 2


def test_the_shipped_engine_knows_piles_it_has_never_seen() -> None:
    pytest.importorskip("pycocotools")
    bundle = read_bundle(SHIPPED)
    assert bundle.manifest.classes == CLASSES
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 5_000_000
    with open_engine(bundle) as engine:
        assert all(item.ok for item in golden_check(engine, bundle))
    assert score(bundle, range(HELD_OUT, HELD_OUT + 12), processes=1).ap50 > 0.8


def heat_of(sound: float, cracked: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits with one part: its own class, `cracked`, and little beside; and its mask."""
    heat = np.full((len(CLASSES), 9, 9), -8.0, np.float32)
    heat[1, 4, 4], heat[CRACKED, 4, 4] = sound, cracked
    mask = np.zeros((36, 36), bool)
    mask[12:24, 12:24] = True
    return heat, mask


def test_a_part_is_called_cracked_from_the_shift_on_that_lets_it_win() -> None:
    called = called_cracked(*heat_of(1.02, 0.5))
    assert (called[0] == (SHIFTS > 0.52)).all()
    assert not called[1].any()
    faint = called_cracked(*heat_of(-4.0, -1.02))[0]
    assert (faint == (SHIFTS > 1.02)).all(), f"a score of {ASKED} is wanted, too"
    heat, mask = heat_of(5.0, -8.0)
    heat[CRACKED, 4, 5] = 4.0  # beside the peak of a sound part it is no part
    heat[CRACKED, 1, 1] = 0.0  # another part
    called = called_cracked(heat, mask, np.array([-0.5, 0.5]))
    assert called.tolist() == [[False, False], [False, True]]


def test_the_greater_of_both_shares_is_made_least() -> None:
    shifts = np.array([0.0, 0.5, 1.0, 1.5])
    found = np.arange(100)[:, None] < np.array([90, 96, 98, 100])
    made_up = np.arange(100)[:, None] < np.array([0, 1, 2, 9])
    chosen = choose(np.stack([found, made_up], axis=1), VALIDATION, shifts)
    assert (chosen.shift, chosen.trays, chosen.first) == (1.0, 100, VALIDATION)
    assert (round(chosen.missed, 6), chosen.made_up) == (0.02, 0.02)
    flat = np.stack([np.ones((5, 4), bool), np.zeros((5, 4), bool)], axis=1)
    assert choose(flat, VALIDATION, shifts).shift == 1.0, "far from where it gets worse"


def test_no_seed_is_for_training_choosing_and_reporting() -> None:
    """They are refused before anything is rendered."""
    assert VALIDATION < HELD_OUT
    for first in (VALIDATION - 1, HELD_OUT - 3):
        with pytest.raises(ValueError, match="to choose by"):
            calibrate(SHIPPED, first, 4, 1)


@pytest.mark.train
@pytest.mark.timeout(1200)
def test_a_short_training_learns_and_its_network_is_exported(tmp_path: Path) -> None:
    """Twelve steps on 16 views: the loss falls, and ONNX Runtime gives what PyTorch does. Nothing is found yet."""
    pytest.importorskip("torch")
    from examples.parts.export import export
    from examples.parts.train import train

    first = train(tmp_path / "one", steps=1, batch=2, count=16, threads=2)
    assert train(tmp_path / "run", steps=12, batch=2, count=16, threads=2) < first
    with pytest.raises(ValueError, match="held out"):
        train(tmp_path / "two", steps=1, batch=2, count=2, threads=1, first=VALIDATION - 1)
    model = tmp_path / "parts.onnx"
    assert export(tmp_path / "run" / "parts.pt", model) < 1e-4
    assert model.stat().st_size < 5_000_000


@pytest.mark.train
@pytest.mark.timeout(1200)
def test_training_goes_on_from_the_shipped_engine_and_its_calibration_is_exported(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    import onnxruntime as ort

    from examples.parts.export import export
    from examples.parts.net import Exported, Parts
    from examples.parts.shipped import load_start
    from examples.parts.train import normalised

    net, view = Parts(len(CLASSES)), render(3, 12, 1)
    image = normalised(view.image[None])
    load_start(net, SHIPPED, [image])
    with torch.no_grad():
        made = Exported(net, [0.0] * CRACKED + [ASKED]).eval()(image)[0][0]
        as_trained = torch.sigmoid(net.train()(image)[0])
    shipped = ort.InferenceSession(read_bundle(SHIPPED).model, providers=["CPUExecutionProvider"])
    scores = shipped.run(["scores"], {"image": view.image[None]})[0][0]
    best = made[4 : 4 + len(CLASSES)].amax(0).sort(descending=True).values[: len(scores)].numpy()
    assert np.abs(best - scores).max() < 1e-3
    assert float(as_trained.max()) > 0.5, "the statistics of its batches are those that it has"

    torch.save(net.state_dict(), tmp_path / "parts.pt")
    chosen = calibrate(tmp_path / "parts.pt", VALIDATION, 8, 1)
    assert (chosen.trays, chosen.first) == (8, VALIDATION)
    assert read(tmp_path) is None
    (tmp_path / FILE).write_text(f'{{"shift": 2.0, "missed": 0, "made_up": 0, "trays": 4, "first": {VALIDATION}}}')
    again = read(tmp_path)
    assert again is not None
    assert export(tmp_path / "parts.pt", tmp_path / "plain.onnx") < 1e-4
    assert export(tmp_path / "parts.pt", tmp_path / "parts.onnx", again.shift) < 1e-4
    heat = []
    for name in ("plain.onnx", "parts.onnx"):
        session = ort.InferenceSession(tmp_path / name, providers=["CPUExecutionProvider"])
        heat.append(session.run(["predictions"], {"image": image.numpy()})[0][0, 4 : 4 + len(CLASSES)])
    assert heat[1][CRACKED].sum() > heat[0][CRACKED].sum()
