"""A gateway whose library is not there says which extra brings it."""

from __future__ import annotations

import sys

import pytest

from edged.__main__ import main


@pytest.mark.parametrize(
    ("package", "words", "extra"),
    [("paho", ["mqtt", "line", "--broker", "127.0.0.1:1"], "mqtt"), ("asyncua", ["opcua", "line"], "opcua")],
)
def test_a_missing_library_is_one_line(
    package: str, words: list[str], extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [
        name for name in sys.modules if name.partition(".")[0] == package or name.endswith(f"gateway.{extra}")
    ]:
        monkeypatch.delitem(sys.modules, name)

    class Gone:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name.partition(".")[0] == package:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Gone(), *sys.meta_path])
    monkeypatch.setattr(sys, "argv", ["edged", "gateway", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"edged: {package} is not installed; pip install 'edged[{extra}]' brings it\n"
