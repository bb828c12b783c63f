"""One spec over another: what is said first holds, and what is left open is filled."""

from __future__ import annotations

from edged.pack.job import new_facts
from edged.pack.spec import HeadSpec, InputSpec, Spec, merge

FLAGS = Spec(name="a", inputs={"image": InputSpec(channels="bgr")})
MODEL = Spec(
    name="b",
    task="instance",
    inputs={"image": InputSpec(channels="rgb", pixels="0..1"), "other": InputSpec(role="const")},
    head=HeadSpec(layout="yolo-seg"),
)


def test_the_upper_one_holds_down_to_each_field() -> None:
    made = merge(FLAGS, MODEL)
    assert (made.name, made.task) == ("a", "instance")
    assert made.inputs["image"] == InputSpec(channels="bgr", pixels="0..1")
    assert made.inputs["other"].role == "const"
    assert made.head == HeadSpec(layout="yolo-seg")
    assert merge(MODEL, Spec()) == merge(Spec(), MODEL) == MODEL


def test_only_what_was_not_known_is_reported() -> None:
    assert set(new_facts(MODEL, FLAGS)) == {
        "task = instance",
        "inputs.image.pixels = 0..1",
        "inputs.other.role = const",
        "head.layout = yolo-seg",
    }
    assert list(new_facts(FLAGS, FLAGS)) == []
