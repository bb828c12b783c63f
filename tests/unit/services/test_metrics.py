"""Metrics: what a running daemon counts, as Prometheus itself reads it; the rules and the board name what is there."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as read_text
from rig import PATIENCE_S, Rig, free_port, is_action, open_rig, rig, state_cell
from waiting import until

from edged.core.errors import UsageError
from edged.services.address import is_loopback, parse_listen
from edged.services.metrics.families import families
from edged.services.metrics.gpu import gpu_families
from edged.services.metrics.serve import exposition
from edged.services.watch import Seen

__all__ = ["rig"]

DEPLOY = Path(__file__).parents[3] / "deploy"
RULES, BOARD = DEPLOY / "prometheus" / "rules.yml", DEPLOY / "grafana" / "edged.json"
promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Debian's prometheus")


@pytest.fixture(scope="module")
def text() -> str:
    """What a daemon at work has to say."""
    with open_rig() as rig:
        rig.feed("state", np.zeros(15))
        daemon = rig.daemon(rig.config(**state_cell(rig)), TMPDIR=str(rig.folder))
        daemon.listen().wait(is_action)
        done = rig.edged("metrics", "--once")
        assert done.returncode == 0, done.stderr
        return done.stdout


def values(text: str) -> dict[str, float]:
    found = {}
    for family in (text_string_to_metric_families if text.endswith("# EOF\n") else read_text)(text):
        for sample in family.samples:
            if sample.labels.get("daemon") == "cell":
                rest = {key: value for key, value in sample.labels.items() if key not in ("daemon", "le")}
                found[" ".join([sample.name, *(rest[key] for key in sorted(rest))])] = sample.value
    return found


def test_what_a_daemon_counts_is_what_prometheus_reads(text: str) -> None:
    found = values(text)
    assert found["edged_up"] == 1
    assert found["edged_ticks_total"] >= found["edged_predictions_total"] > 0
    assert found["edged_state ok"] == 1
    assert found["edged_armed"] == 1
    assert 0 <= found["edged_input_age_seconds state sensor"] < PATIENCE_S
    assert any(key.startswith("edged_daemon_info") and "bench-state" in key for key in found)


def test_a_file_for_node_exporter_is_in_the_format_that_it_reads(text: str) -> None:
    """It refuses a file with a type of OpenMetrics alone, such as info, and takes none of it."""
    kinds = {line.split()[3] for line in text.splitlines() if line.startswith("# TYPE")}
    assert {"gauge", "counter", "histogram"} <= kinds <= {"gauge", "counter", "histogram", "summary", "untyped"}
    counters = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE") and line.endswith("counter")]
    assert all(name.endswith("_total") for name in counters), "as its samples are called"


def test_a_daemon_that_was_started_elsewhere_is_not_gone_as_well() -> None:
    """By hand first, then as a service: two series of one name and time are refused, and the first of them counts."""
    now_s = time.monotonic()
    seen = [Seen("cell", Path(f"/run/{number}"), {}, heard_s) for number, heard_s in enumerate((now_s, now_s - 60))]
    for order in (seen, seen[::-1], seen[1:] * 2):
        text = exposition(families(order)).decode()
        assert [line for line in text.splitlines() if line.startswith("edged_up")] == [
            f'edged_up{{daemon="cell"}} {float(seen[0] in order)}'
        ]


def test_a_histogram_grows_to_its_count_and_has_a_sum(text: str) -> None:
    for family in read_text(text):
        if family.name != "edged_step_seconds":
            continue
        steps = {sample.labels["step"] for sample in family.samples if sample.labels["daemon"] == "cell"}
        assert {"late", "latency", "publish"} <= steps
        for step in steps:
            mine = [s for s in family.samples if s.labels["step"] == step and s.labels["daemon"] == "cell"]
            buckets = [s.value for s in mine if s.name.endswith("_bucket")]
            (count,) = [s.value for s in mine if s.name.endswith("_count")]
            (total,) = [s.value for s in mine if s.name.endswith("_sum")]
            assert buckets == sorted(buckets)
            assert buckets[-1] == count > 0
            assert total > 0
        return
    raise AssertionError("no histogram")


def test_rules_and_board_ask_for_metrics_that_there_are(text: str) -> None:
    there = {re.sub(r"_(total|info)$", "", line.split()[2]) for line in text.splitlines() if line.startswith("# TYPE")}
    for path in (RULES, BOARD):
        asked = set(re.findall(r"\b(edged_[a-z_]+)\b", path.read_text(encoding="utf-8")))
        bare = {re.sub(r"_(total|bucket|sum|count|info)$", "", name) for name in asked}
        assert bare
        assert bare <= there, bare - there
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) >= 8


@promtool
def test_prometheus_takes_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_prometheus_fires_when_a_daemon_is_gone_or_holds(tmp_path: Path) -> None:
    case = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1s",
        "tests": [{
            "interval": "1s",
            "input_series": [
                {"series": 'edged_up{daemon="pick"}', "values": "1x10 0x60"},
                {"series": 'edged_state{daemon="inspect",state="STALE"}', "values": "1x60"},
                {"series": 'edged_state{daemon="held",state="OPERATOR"}', "values": "1x60"},
            ],
            "promql_expr_test": [
                {"expr": 'count(ALERTS{alertname="EdgedDown",alertstate="firing"})', "eval_time": "40s",
                 "exp_samples": [{"value": 1}]},
                {"expr": 'ALERTS{alertname="EdgedHolds",alertstate="firing"}', "eval_time": "40s",
                 "exp_samples": [{"labels": 'ALERTS{alertname="EdgedHolds",alertstate="firing",daemon="inspect",'
                                            'severity="warning",state="STALE"}', "value": 1}]},
            ],
        }],
    }  # fmt: skip
    path = tmp_path / "case.yml"
    path.write_text(json.dumps(case), encoding="utf-8")  # JSON is YAML
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_serves_and_ends_at_ctrl_c_with_0(rig: Rig) -> None:
    port = free_port()
    serving = rig.process("metrics", "-m", "edged", "metrics", "--listen", f"127.0.0.1:{port}",
                          XDG_RUNTIME_DIR=str(rig.folder))  # fmt: skip

    def scrape() -> str:
        try:
            return str(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2).read().decode())
        except OSError:
            return ""

    assert "edged_up" in until(scrape, PATIENCE_S, lambda: serving.said)
    serving.send(signal.SIGINT)
    assert serving.exit_code() == 0


@pytest.mark.parametrize("listen", ["0.0.0.0:9464", "192.168.1.4:9464", "[::]:9464"])
def test_the_network_is_refused_unless_it_was_meant(rig: Rig, listen: str) -> None:
    done = rig.edged("metrics", "--listen", listen)
    assert done.returncode == 2
    assert "--insecure" in done.stderr


@pytest.mark.parametrize(
    "listen",
    [
        "9464",
        "a:b",
        ":1",
        "127.0.0.1:0",
        "127.0.0.1:70000",
        "127.0.0.1:१",
        f"a:{'1' * 5000}",
        "10.0.0..5:80",
        f"{'a' * 64}:80",
    ],
)
def test_an_address_that_is_none_is_refused(listen: str) -> None:
    with pytest.raises(UsageError, match="is no HOST:PORT"):
        parse_listen(listen)


def test_what_this_machine_alone_reaches() -> None:
    assert parse_listen("[::1]:80") == ("::1", 80)
    assert [is_loopback(host) for host in ("127.0.0.2", "::1", "localhost", "10.0.0.1", "cell")] == [
        True, True, True, False, False
    ]  # fmt: skip


def test_what_a_gpu_says_is_in_base_units_and_nothing_without_one() -> None:
    facts = {
        "clocks_mhz": {"sm": 1410, "sm_max": 1980}, "memory_mib": {"used": 512, "total": 81920}, "power_w": 250.5,
        "temperatures_c": {"gpu": 61}, "busy_percent": 37, "throttled": ["thermal"], "name": "H100",
    }  # fmt: skip
    found = {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(exposition(gpu_families(facts)).decode())
        for sample in family.samples
    }
    assert found == {
        "edged_gpu_clock_hertz sm": 1.41e9,
        "edged_gpu_clock_hertz sm_max": 1.98e9,
        "edged_gpu_memory_bytes used": 512 * 2**20,
        "edged_gpu_memory_bytes total": 81920 * 2**20,
        "edged_gpu_celsius gpu": 61,
        "edged_gpu_watts": 250.5,
        "edged_gpu_busy_ratio": 0.37,
        "edged_gpu_throttled": 1,
    }
    assert list(gpu_families({"missing": "no NVML"})) == []


def test_swaps_are_counted_by_their_numbers() -> None:
    past = [{"job": 3, "state": "refused", "version": "8"}, {"job": 4, "state": "committed", "version": "9"}]
    swap = {"active": {"job": 5, "state": "shadow", "version": "10"}, "waiting": [{"job": 6}], "past": past}
    seen = Seen("cell", Path("/run/cell"), {"swap": swap}, time.monotonic())
    found = values(exposition(families([seen])).decode())
    assert found["edged_swap_jobs_total"] == 6
    assert found["edged_swap_last committed 9"] == 1
    assert found["edged_swap_active"] == 1
