"""`edged eval` and `edged infer` of a folder: what an engine finds, taken for the truth and spoiled in known places."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest
from typer.testing import CliRunner

from edged.cli.commands import app
from edged.cli.evaluate import prove_by_pictures
from edged.core.errors import RefusedError, UsageError
from edged.demo.parts import render
from edged.source import picture

pytest.importorskip("pycocotools")
CONFIG = """
[cameras.line]
uri = "/dev/null"
width = 320
height = 320
fps = 10
[engine]
name = "parts"
[[inspection.rules]]
name = "cracks"
classes = ["cracked"]
max_count = 0
violations = 2
of_last = 3
[[inspection.rules]]
name = "washers"
classes = ["washer"]
min_count = 1
"""
CRACKED = {"a": 1, "b": 0, "c": 0, "d": 2}


def run(*arguments: object) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and what the shipped engine finds in them."""
    folder = tmp_path_factory.mktemp("set")
    (folder / "pictures").mkdir()
    for number, (name, cracked) in enumerate(CRACKED.items()):
        assert cv2.imwrite(str(folder / "pictures" / f"{name}.png"), render(1_000_100 + number, 14, cracked).image)
    code, said = run("infer", "parts", folder / "pictures", "--coco", folder / "all.json", "--masks", folder / "masks")
    assert (code, said["pictures"], said["failed"]) == (0, 4, {})
    (folder / "line.toml").write_text(CONFIG)
    return folder


@pytest.fixture
def spoiled(looked_at: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(looked_at, tmp_path / "set"))


def test_what_was_found_is_found_again(looked_at: Path) -> None:
    for how in (("--coco", looked_at / "all.json"), ("--masks", looked_at / "masks")):
        code, said = run("eval", "parts", looked_at / "pictures", *how, "--config", looked_at / "line.toml",
                         "--least-ap50", 1, "--most-escapes", 0, "--most-false-rejects", 0)  # fmt: skip
        assert (code, said["missed"], said["evaluated"]) == (0, [], 4)
        assert said["ap"] == said["miou"] == 1.0
        assert said["results"] == {"FAIL": {"FAIL": 2}, "PASS": {"PASS": 2}}
        (cracks, washers) = said["rules"]
        assert (cracks["violating"], cracks["good"], cracks["escapes"], cracks["false_rejects"]) == (2, 2, 0, 0)
        assert washers["violating"] == 0


def test_escapes_and_false_rejects_are_those_that_were_made(spoiled: Path) -> None:
    masks = spoiled / "masks"
    for file in sorted((masks / "a").glob("*-cracked.png")):  # the engine is wrong to see these
        file.rename(file.with_name(file.name.replace("cracked", "nut")))
    first = sorted((masks / "b").glob("*-nut.png"))[0]
    first.rename(first.with_name("900-cracked.png"))  # and misses this one
    code, said = run("eval", "parts", spoiled / "pictures", "--masks", masks, "--config", spoiled / "line.toml",
                     "--most-escapes", 0.4, "--most-false-rejects", 0.4, "-o", spoiled / "report")  # fmt: skip
    assert json.loads((spoiled / "report").read_text()) == said, "what missed its bound included"
    cracks = said["rules"][0]
    assert (cracks["escaped"], cracks["rejected"]) == (["b.png"], ["a.png"])
    assert (cracks["violating"], cracks["good"]) == (2, 2)
    assert said["results"] == {"FAIL": {"PASS": 1, "FAIL": 1}, "PASS": {"FAIL": 1, "PASS": 1}}
    assert code == 3
    assert len(said["missed"]) == 2
    table, names = said["confusion"]["drawn_by_found"], said["confusion"]["classes"]
    nut, cracked = names.index("nut"), names.index("cracked")
    assert (table[cracked][nut], table[nut][cracked]) == (1, 1)
    assert said["ap"] < 1.0
    digest = said["digest"]
    _, other = run("eval", "parts", spoiled / "pictures", "--masks", masks, "--config", spoiled / "line.toml",
                   "--set", "inspection.thresholds.cracked=0.9999")  # fmt: skip
    assert other["digest"] != digest
    assert other["rules"][0]["escapes"] == 2, "a raised threshold lets cracks through"
    assert other["ap"] == said["ap"], "precision is of all that the engine gives"


def test_pictures_that_cannot_be_compared_are_named_and_counted(spoiled: Path) -> None:
    pictures = spoiled / "pictures"
    (pictures / "b.png").write_bytes((pictures / "b.png").read_bytes()[:500])
    (pictures / "c.png").write_bytes(b"")
    (pictures / "new.png").write_bytes((pictures / "a.png").read_bytes())
    (pictures / "notes.txt").write_text("x")
    (pictures / "a.png").unlink()
    code, said = run("eval", "parts", pictures, "--coco", spoiled / "all.json")
    assert code == 1
    assert sorted(said["failed"]) == ["a.png", "b.png", "c.png"]
    assert "is empty" in said["failed"]["c.png"]
    assert "no such picture" in said["failed"]["a.png"]
    assert (said["without_truth"], said["other_files"], said["evaluated"]) == (["new.png"], ["notes.txt"], 1)
    code, said = run("infer", "parts", pictures, "--coco", spoiled / "again.json")
    assert code == 1
    assert sorted(said["failed"]) == ["b.png", "c.png"]
    assert sorted(json.loads((spoiled / "again.json").read_text())["info"]["failed"]) == ["b.png", "c.png"]


def test_evidence_that_goes_meanwhile_is_counted_and_proves_nothing(spoiled: Path) -> None:
    """A folder with a file of JSON for each picture, as a daemon keeps it; the oldest goes while it is looked at."""
    known, pictures = json.loads((spoiled / "all.json").read_text()), spoiled / "pictures"
    for image in known["images"]:
        mine = [one for one in known["annotations"] if one["image_id"] == image["id"]]
        name = Path(image["file_name"]).with_suffix(".json")
        (pictures / name).write_text(json.dumps({**known, "images": [image], "annotations": mine}))
    how = (pictures, "--coco", pictures, "--config", spoiled / "line.toml")
    code, said = run("eval", "parts", *how)
    assert (code, said["evaluated"], said["ap"], said["other_files"]) == (0, 4, 1.0, [])
    told = prove_by_pictures(pictures, "parts", None, str(spoiled / "line.toml"), 0.0)
    assert re.fullmatch(r"of \d+ bad pictures 0.0% would pass, of \d+ good ones 0.0% would not", told)
    with pytest.raises(UsageError, match="TOML"):
        prove_by_pictures(pictures, "parts", None, "line", 0.0)
    lax = CONFIG + "[inspection.thresholds]\ncracked = 0.9999\n"
    (spoiled / "lax.toml").write_text(lax)
    with pytest.raises(RefusedError, match=r"100\.0% of the bad pictures would pass") as refused:
        prove_by_pictures(pictures, "parts", None, str(spoiled / "lax.toml"), 0.05)
    assert refused.value.remedy.endswith("names them; or raise --bound")
    (pictures / "c.png").write_bytes(b"")
    with pytest.raises(RefusedError, match=r"c\.png cannot be judged") as refused:
        prove_by_pictures(pictures, "parts", None, str(spoiled / "line.toml"), 1.0)
    assert refused.value.remedy.endswith("names them"), "no bound lets that in"

    odd, file = (spoiled / "it's odd").absolute(), spoiled / "two words" / "line.toml"
    shutil.copytree(pictures, odd)
    file.parent.mkdir()
    shutil.copy(spoiled / "lax.toml", file)
    with pytest.raises(RefusedError) as refused:
        prove_by_pictures(odd, "parts/1", spoiled / "the store", str(file), 0.0)
    command = refused.value.remedy[1:].partition("' names them")[0]
    places = [str(odd), "--coco", str(odd), "--config", str(file), "--store", str(spoiled / "the store")]
    assert shlex.split(command) == ["edged", "eval", "parts/1", *places]

    read, first = picture.read_picture, pictures / "a.png"

    def going(path: Path, *rest: Any) -> Any:
        if path == first:
            first.unlink()
        return read(path, *rest)

    (pictures / "c.png").unlink()
    (pictures / "c.json").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edged.evaluation.evaluate.read_picture", going)
        code, said = run("eval", "parts", *how)
    assert (code, said["gone"], said["evaluated"], said["failed"]) == (0, ["a.png"], 2, {})


def test_a_picture_that_exif_turns_is_named(spoiled: Path) -> None:
    """Orientation 6: to be shown a quarter turn clockwise; the annotations were made on pictures as they are shown."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    wide = cv2.imread(str(spoiled / "pictures" / "a.png"))[:200]
    jpeg = cv2.imencode(".jpg", wide)[1].tobytes()
    (spoiled / "pictures" / "a.jpg").write_bytes(
        jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    )
    known = json.loads((spoiled / "all.json").read_text())
    for entry, name in ((1, "a.png"), (2, "b.png")):
        assert known["images"][entry - 1]["file_name"] == name
    known["images"][0] |= {"file_name": "a.jpg", "width": 320, "height": 200}
    known["annotations"] = [one for one in known["annotations"] if one["image_id"] != 1]
    (spoiled / "turned.json").write_text(json.dumps(known))
    code, said = run("eval", "parts", spoiled / "pictures", "--coco", spoiled / "turned.json")
    assert (code, said["turned"]) == (1, ["a.jpg"])
    assert said["failed"] == {"a.jpg": "it was annotated as 320x200, and it is 200x320; its EXIF turns it"}
    known["images"][0] |= {"width": 200, "height": 320}
    (spoiled / "turned.json").write_text(json.dumps(known))
    code, said = run("eval", "parts", spoiled / "pictures", "--coco", spoiled / "turned.json")
    assert (code, said["turned"], said["failed"]) == (0, ["a.jpg"], {})


def test_label_maps_are_compared_pixel_by_pixel(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[3] / "examples" / "plate" / "plate.jpg", tmp_path / "p.jpg")
    code, _ = run("infer", "plate", tmp_path / "p.jpg", "--masks", tmp_path / "masks")
    assert code == 0
    image = cv2.imread(str(tmp_path / "masks" / "p.png"), cv2.IMREAD_UNCHANGED)
    assert image.ndim == 2
    pits = image == 2
    assert pits.any()
    image[pits], image[:16] = 1, 255
    assert cv2.imwrite(str(tmp_path / "masks" / "p.png"), image)
    told = CliRunner().invoke(app, ["eval", "plate", str(tmp_path / "p.jpg"), "--masks", str(tmp_path / "masks"),
                                    "--least-ap50", "0.5"])  # fmt: skip
    assert isinstance(told.exception, UsageError)
    assert "plate finds no objects and has no AP" in told.exception.fact
    assert "looking at" not in told.stderr, "before it looked at any picture"
    code, said = run("eval", "plate", tmp_path / "p.jpg", "--masks", tmp_path / "masks")
    assert code == 0
    judged = int((image != 255).sum())
    wrong = int((pits & (image != 255)).sum())
    table = said["confusion"]["drawn_by_found"]
    assert sum(map(sum, table)) == judged
    assert table[1][2] == wrong
    assert said["iou_of"]["pit"] == 0.0
    assert said["iou_of"]["scratch"] == pytest.approx(table[1][1] / (table[1][1] + wrong))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["eval", "parts", "{}"], "not known"),
        (["eval", "parts", "{}", "--masks", "{}", "--coco", "x"], "not known"),
        (["eval", "parts", "{}", "--masks", "{}", "--most-escapes", "0"], "of rules"),
        (["eval", "reach", "{}", "--masks", "{}"], "policy"),
        (["infer", "parts", "{}"], "folder"),
        (["infer", "reach", "{}", "--masks", "{}/m"], "policy"),
        (["eval", "parts", "{}/none", "--masks", "{}"], "there is no"),
    ],
)
def test_what_cannot_be_meant_is_refused(looked_at: Path, arguments: list[str], why: str) -> None:
    done = CliRunner().invoke(app, [part.replace("{}", str(looked_at / "pictures")) for part in arguments])
    assert done.exit_code != 0
    assert why in str(done.exception)


@pytest.mark.parametrize("place", [".", "none/x", "x.png/y"])
def test_a_report_that_cannot_be_written_is_told_before_the_run(tmp_path: Path, place: str) -> None:
    (tmp_path / "x.png").write_bytes(b"")
    told = CliRunner().invoke(app, ["eval", "parts", str(tmp_path), "--masks", "m", "-o", str(tmp_path / place)])
    assert isinstance(told.exception, UsageError)
    assert "cannot be written" in told.exception.fact
    assert "-o" in told.exception.remedy


def test_a_name_that_is_no_text_is_read_again_as_it_was_written(looked_at: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name in (b"u\xff.png", b"b.png"):
        shutil.copy(looked_at / "pictures" / "b.png", os.fsencode(tmp_path / "set") + b"/" + name)
    how = {"--coco": tmp_path / "found.json", "--masks": tmp_path / "masks"}
    code, said = run("infer", "parts", tmp_path / "set", *(word for pair in how.items() for word in pair))
    assert (code, said["pictures"]) == (0, 2)
    for option, place in how.items():
        code, said = run("eval", "parts", tmp_path / "set", option, place)
        assert (code, said["evaluated"], said["failed"], said["without_truth"]) == (0, 2, {}, [])


def test_a_key_of_no_config_is_refused(looked_at: Path) -> None:
    how = ["--masks", str(looked_at / "masks"), "--set", "inspection.thresholds.cracked=0.9"]
    told = CliRunner().invoke(app, ["eval", "parts", str(looked_at / "pictures"), *how])
    assert isinstance(told.exception, UsageError)
    assert "overrides nothing" in told.exception.fact
