"""docs/config.md is what the schema says."""

from __future__ import annotations

from pathlib import Path

from docs.config_page import reference
from edged.config.schema import Config

PAGE = Path(__file__).parents[2] / "docs" / "config.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "python docs/config_page.py > docs/config.md"


def test_every_key_has_a_meaning() -> None:
    assert "|  |\n" not in reference()
    for section in Config.model_fields:
        assert f"## [{section}" in reference()
