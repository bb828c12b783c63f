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
/* What a socket kept: from first_life to last_life, the last with these flags. */
struct kept {
    unsigned life, last, flags;
};
static long receive(void *from, void *bytes, size_t size) {
    struct kept *kept = from;
    struct edged_status status = {.magic = {'E', 'D', 'G', 'U'}, .version = 1, .life = kept->life, .flags = 1};
    if (kept->life > kept->last || size < sizeof status) return -1;
    if (kept->life++ == kept->last) status.flags = (uint16_t)kept->flags;
    memcpy(bytes, &status, sizeof status);
    return sizeof status;
}
/* lines of `now_ms life flags`: heard; `now_ms first_life last_life flags`: a cycle that reads what its socket has;
 * `now_ms`: asked. Prints 1 or 0 for each that was asked. */
int main(void) {
    struct kept kept = {1, 0, 0};
    struct edged_watch watch = {0};
    struct edged_status status = {0};
    long long now_ms;
    unsigned life, flags;
    char line[99];
    while (fgets(line, sizeof line, stdin)) {
        struct kept more;
        if (sscanf(line, "%lld %u %u %u", &now_ms, &more.life, &more.last, &more.flags) == 4) {
            if (kept.life <= kept.last) more.life = kept.life; /* behind what the cycle before has left */
            kept = more;
            edged_drain(&watch, receive, &kept, now_ms);
        } else if (sscanf(line, "%lld %u %u", &now_ms, &life, &flags) == 3) {
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
        ("1000 1 1 1|1010 2 2 1|1010|4000 3 250 1|4000|4010 300 300 0|4010", "100"),
        ("1000 1 1 1|1010 2 2 1|1010|4000 3 250 1|4000|4010 300 301 1|4010", "101"),
        # More than a cycle reads: what is left over is as old as what came first.
        ("1000 1 1 1|1010 2 2 1|1010|1020 3 2000 1|1020|1030 2001 2001 1|1030|1040 2002 2002 1|1040", "1001"),
    ],
)
def test_what_is_trusted(program: Path, lines: str, alive: str) -> None:
    text = lines.replace("|", "\n") + "\n"
    done = subprocess.run([program], input=text, capture_output=True, text=True, check=True)
    assert done.stdout == alive
