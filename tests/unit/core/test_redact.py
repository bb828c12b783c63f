"""Whatever an address hides appears nowhere; what helps to find a mistake stays."""

from __future__ import annotations

import logging

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edged.config import LogConfig
from edged.core.redact import HIDDEN, hide, redact, redacted, shown
from edged.runtime.logs import Writer, apply_log

MARK = "zq"  # in each piece of a secret, and in nothing else
PIECES = st.lists(st.text("zq", min_size=2, max_size=4).map(lambda text: MARK + text), min_size=1, max_size=4)
SECRETS = st.tuples(PIECES, st.sampled_from(["", *"/@:?#&;%=.,+![]()$~"])).map(lambda made: made[1].join(made[0]))
HOSTS = st.sampled_from(["127.0.0.1", "camera-3.line.local", "[fe80::1]", "10.0.0.7:554", "[::1]:8554"])
SCHEMES = st.sampled_from(["rtsp", "rtsps", "http", "https", "RTSP", "zmq+tcp", "tcp"])
PATHS = st.sampled_from(["", "/", "/cam", "/Streaming/Channels/101", "/live/ch00_0.264"])
ADDRESSES = st.one_of(
    st.builds("{}://{}:{}@{}{}".format, SCHEMES, SECRETS, SECRETS, HOSTS, PATHS),
    st.builds("{}://{}@{}{}".format, SCHEMES, SECRETS, HOSTS, PATHS),
    st.builds("{}://{}{}?token={}".format, SCHEMES, HOSTS, PATHS, SECRETS),
    st.builds("{}://{}:{}@{}{}?user=a&pwd={}".format, SCHEMES, SECRETS, SECRETS, HOSTS, PATHS, SECRETS),
    st.builds("{}://{}{}#{}@{}".format, st.just("rtsp"), HOSTS, PATHS, SECRETS, SECRETS),
    st.builds("{}://{}/user={}_password={}_channel=1.sdp".format, SCHEMES, HOSTS, SECRETS, SECRETS),
)


@given(ADDRESSES)
@example("rtsp://zqzq:zq/et@127.0.0.1:8599/cam")
@example("rtsp://127.0.0.1/a?p=zq@zq")
def test_no_piece_of_a_secret_is_shown(address: str):
    assert MARK not in shown(address)
    assert shown(shown(address)) == shown(address)
    assert MARK not in str(redacted({"cameras": [{"uri": address}]}))


@given(ADDRESSES)
def test_what_others_say_about_an_address_hides_it_too(address: str):
    said = f"cannot open {address}: 401 Unauthorized, tried '{address}'; is the camera on?"
    assert MARK not in hide(said, address)
    assert hide(said, address).endswith("; is the camera on?")


def test_secrets_on_their_own_are_hidden_as_written_and_as_meant():
    address = "rtsp://admin:p%40ss-word@10.0.0.7/cam?token=abc123"
    said = hide("auth failed for user admin with p@ss-word (p%40ss-word), token abc123", address)
    assert said == f"auth failed for user {HIDDEN} with {HIDDEN} ({HIDDEN}), token {HIDDEN}"


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("rtsp://admin:s3cr/et@127.0.0.1:8599/cam", "rtsp://127.0.0.1:8599/cam"),
        ("http://admin:s3cret@127.0.0.1:8599/mjpg", "http://127.0.0.1:8599/mjpg"),
        ("rtsp://cam/live?token=abc", "rtsp://cam/live?***"),
        ("rtsp://cam/live/8f3ab0c9d1e24f77a0b1", "rtsp://cam/live/***"),
        ("rtsp://cam/user=a_password=b.sdp", "rtsp://cam/***"),
        ("rtsp:/admin:pw@cam/x", HIDDEN),
        ("admin:pw@cam/x", HIDDEN),
        ("rtsp://admin:s3cret", "rtsp://***"),
        ("gst:rtspsrc location=rtsp://a:b@cam/x user-id=a user-pw='b c' ! decodebin",
         "gst:rtspsrc location=rtsp://cam/x user-id=*** user-pw=*** ! decodebin"),
    ],
)  # fmt: skip
def test_as_much_is_shown_as_can_be(address: str, wanted: str):
    assert shown(address) == wanted


@pytest.mark.parametrize(
    "address",
    [
        "0", "/dev/video0", "line.mp4", "/data/line@2/clip 1.mp4", "rtsp://cam:554/Streaming/Channels/101",
        "zmq+tcp://10.0.0.7:5601#wrist/frames", "zmq+ipc:///run/edged/cam/frames#cam/frames", "tcp://127.0.0.1:7701",
        "ipc://@abstract", "replay:/data/day@1.npz#wrist", "tcp://*:5601",
    ],
)  # fmt: skip
def test_what_hides_nothing_stays_as_it_is(address: str):
    assert shown(address) == address
    assert redacted(address) == address


def test_texts_without_secrets_stay_as_they_are():
    text = "lin.toml: see https://toml.io; nothing on tcp://127.0.0.1:7701 (yet), 3 of 4 at 12:30, a/b:c"
    assert redact(text) == text


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_of_the_log_shows_no_password_whoever_wrote_it(form: str):
    writer = Writer()
    apply_log(LogConfig(format=form), writer)
    record = logging.makeLogRecord({"msg": "failed: %s", "args": ("rtsp://admin:s3cr/et@cam/x",), "levelname": "ERROR"})
    assert "s3cr" not in writer.formatter.format(record)
    assert "rtsp://cam/x" in writer.formatter.format(record)
