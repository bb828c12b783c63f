"""Files that a person names for a library: what cannot be read is told by its option."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.core.errors import UsageError
from edged.services.given import check_readable
from edged.services.ui.cell import May
from edged.services.ui.serve import Settings, serve


def test_the_first_that_cannot_be_read_is_named_by_its_option(tmp_path: Path) -> None:
    check_readable({"--ca": None, "--key": Path(__file__)})
    with pytest.raises(UsageError, match=rf"^--key {tmp_path} cannot be read: Is a directory; check the path"):
        check_readable({"--ca": Path(__file__), "--key": tmp_path, "--more": tmp_path / "none"})


def test_a_page_says_which_of_its_files_is_not_there(tmp_path: Path) -> None:
    settings = Settings("127.0.0.1:1", May(), tmp_path / "people.json", Path(__file__), tmp_path / "none.key")
    with pytest.raises(UsageError, match=r"^--key .*none\.key cannot be read: No such file or directory"):
        serve(list, lambda folder, since: [], settings, print)
