"""When clients/udp/edged_udp.h trusts a datagram, by what it is told of the time."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from plc import SOURCES, STRICT

PROGRAM = """
#include <stdio.h>
#include <string.h>
#include "edged_udp.h"
/* lines of `now_ms life flags`: heard; `now_ms`: asked. Prints 1 or 0 for each that was asked. */
int main(void) {
    struct edged_watch watch = {0};
    struct edged_status status = {0};
    long long now_ms;
    unsigned life, flags;
    char line[99];
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%lld %u %u", &now_ms, &life, &flags) == 3) {
            status.life = life, status.flags = (uint16_t)flags;
            edged_heard(&watch, &status, now_ms);
        } else {
            printf("%d", edged_alive(&watch, now_ms));
        }
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler: apt-get install gcc")
    folder = tmp_path_factory.mktemp("udp")
    (folder / "watch.c").write_text(PROGRAM, encoding="utf-8")
    subprocess.run([compiler, *STRICT, f"-I{SOURCES}", folder / "watch.c", "-o", folder / "watch"], check=True)
    return folder / "watch"


@pytest.mark.parametrize(
    ("lines", "alive"),
    [
        ("1000", "0"),
        ("1000 1 1|1000|1010 2 1|1010|1210|1211", "0110"),
        ("1000 1 0|1010 2 0|1010", "0"),  # it says itself that nobody is there
        ("1000 1 1|1010 2 1|1020 2 1|1100 2 1|1210|1211", "10"),  # a counter that stands still
        ("1000 5 1|1010 6 1|1020 4 0|1020", "1"),  # brought late by the network
        ("1000 4294967295 1|1010 0 1|1010|1020 1 1|1215", "11"),
        ("1000 9 1|1010 10 1|1211|1300 1 1|1300|1310 2 1|1310", "001"),  # a gateway that was restarted
        # The receiver stood still: what its socket kept comes at once, then what is so now.
        ("1000 1 1|1010 2 1|4000 3 1|4000 4 1|4001 200 1|4001|4010 300 0|4010", "00"),
        ("1000 1 1|1010 2 1|4000 3 1|4000 4 1|4001 200 1|4001|4010 300 1|4010", "01"),
    ],
)
def test_what_is_trusted(program: Path, lines: str, alive: str) -> None:
    text = lines.replace("|", "\n") + "\n"
    done = subprocess.run([program], input=text, capture_output=True, text=True, check=True)
    assert done.stdout == alive
