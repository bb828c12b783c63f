"""The history of versions, pruning, and the queue of jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.bundle.store import Store
from edged.core.errors import EngineError, RefusedError
from edged.swap.history import History
from edged.swap.job import UNDERWAY, Job
from edged.swap.job_queue import JobQueue
from edged.swap.prune import prune


class TestHistory:
    def history(self, store: Store) -> History:
        made = History(store, "reach")
        made.read()
        return made

    @pytest.fixture
    def store(self, tmp_path: object) -> Store:
        return Store(tmp_path / "store", tmp_path / "none")  # type: ignore[operator]

    def test_every_state_that_is_under_way_is_interrupted_by_a_crash(self, store: Store) -> None:
        history = self.history(store)
        for number, state in enumerate(sorted(UNDERWAY)):
            history.add(Job(1, f"v{number}", "ann"), state)  # type: ignore[arg-type]
        for version, state in (("good", "committed"), ("bad", "refused"), ("back", "rolled_back"), ("end", "stopped")):
            history.add(Job(1, version, "ann"), state)  # type: ignore[arg-type]
        again = self.history(store)
        assert len(again.mark_interrupted()) == len(UNDERWAY)
        assert {again.entry(f"v{number}").crashes for number in range(len(UNDERWAY))} == {1}
        assert again.entries["good"].state == "committed"
        assert self.history(store).mark_interrupted() == []

    def test_what_the_link_names_is_committed(self, store: Store) -> None:
        history = self.history(store)
        history.add(Job(1, "2", "ann"), "probation")
        (store.root / "reach" / "current").symlink_to("2")
        again = self.history(store)
        assert again.mark_interrupted() == []
        assert again.entries["2"].state == "committed"

    def test_crashes_are_counted_until_it_is_committed_or_reset(self, store: Store) -> None:
        for expected in (1, 2, 3):
            history = self.history(store)
            history.add(Job(1, "2", "ann", attempt=history.entry("2").attempts + 1), "loaded")
            again = self.history(store)
            again.mark_interrupted()
            assert again.entry("2").crashes == self.history(store).entry("2").crashes == expected
        self.history(store).forget("2", "bob")
        history = self.history(store)
        assert (history.entry("2").crashes, history.entry("2").attempts) == (0, 3)

    def test_the_previous_one_is_the_last_other_that_was_committed(self, store: Store) -> None:
        history = self.history(store)
        assert history.previous("1") is None
        for version in ("1", "2", "1", "3"):
            history.add(Job(1, version, "ann"), "committed", "", f"id{version}")
        assert (history.previous("3"), history.previous("1"), history.previous("2")) == ("1", "2", None)
        assert history.previous("") == "3"
        assert history.previous("3", ["2", "3"]) == "2", "1 was removed by hand"
        assert history.committed("2", "id2")
        assert not history.committed("2", "other")

    def test_what_a_config_pins_was_gone_back_to(self, store: Store) -> None:
        history = self.history(store)
        for version in ("1", "2", "3"):
            history.settle_pinned(version)
            history.add(Job(1, version, "ann"), "committed", "", f"id{version}")
        assert len(list(store.journal("reach"))) == 3, "nothing is written of what was committed last"
        assert history.previous("1") is None, "and runs: what was committed after it is no way back"
        history.settle_pinned("1")
        history.add(Job(2, "2", "ann"), "committed", "", "id2")
        for told in (history, self.history(store)):
            assert (told.order, told.previous("2")) == (["1", "2"], "1")
            assert told.committed("1", "id1")

    def test_a_rejected_version_that_is_pinned_is_a_way_back_again(self, store: Store) -> None:
        """It was rolled back from, is called by its name in the config, runs, and another is swapped in."""
        history = self.history(store)
        for version in ("1", "2", "3"):
            history.add(Job(1, version, "ann"), "committed", "", f"id{version}")
        history.add(Job(2, "2", "ann", back=True), "committed", "", "id2")
        assert history.order == ["1", "2"], "it is no way back"
        history.settle("3", "id3")
        history.settle_pinned("3")
        history.add(Job(3, "4", "ann"), "committed", "", "id4")
        for told in (history, self.history(store)):
            assert [told.previous(version) for version in ("4", "3")] == ["3", "2"]
            assert told.committed("3", "id3")

    def test_what_was_said_of_versions_that_are_gone_is_in_the_journal_alone(self, store: Store) -> None:
        """What decides stays: what was committed under the number, crashes, attempts, and the way back."""
        history = self.history(store)
        for version in ("1", "2"):
            history.add(Job(1, version, "ann", attempt=3), "committed", "why", f"id{version}")
        history.keep_words(["2"])
        assert [(one.reason, one.who, bool(one.time)) for one in (history.entries[v] for v in ("1", "2"))] == [
            ("", "", False), ("why", "ann", True)
        ]  # fmt: skip
        assert (history.committed("1", "id1"), history.entry("1").attempts, history.previous("2")) == (True, 3, "1")
        assert self.history(store).entries["1"].who == "ann"

    @pytest.mark.parametrize("end", ["refused", "rolled_back", "stopped"])
    def test_an_end_without_an_attempt_says_nothing_about_the_version(self, store: Store, end: str) -> None:
        store.journal_append("reach", who="ann", version="1", state=end, reason="not complete")
        assert self.history(store).entries == {}
        self.history(store).settle("1", "id1")
        store.journal_append("reach", who="ann", version="1", state=end, reason="it is what runs", attempt=0)
        assert self.history(store).entries["1"].state == "committed"

    def test_what_was_gone_back_from_is_no_way_back(self, store: Store) -> None:
        history = self.history(store)
        for version in ("0", "1", "2"):
            history.add(Job(1, version, "ann"), "committed", "", f"id{version}")
        history.add(Job(1, "1", "ann", back=True), "committed", "", "id1")
        for told in (history, self.history(store)):
            assert told.previous("1") == "0"
            assert told.order == ["0", "1"]

    def test_what_was_gone_back_from_is_no_way_back_either_where_the_daemon_died_before_it_said_so(
        self, store: Store
    ) -> None:
        history = self.history(store)
        for version in ("0", "1", "2"):
            history.add(Job(1, version, "ann"), "committed", "", f"id{version}")
        history.add(Job(1, "1", "ann", back=True), "swapped")
        (store.root / "reach" / "current").symlink_to("1")
        again = self.history(store)
        assert again.mark_interrupted() == []
        for told in (again, self.history(store)):
            assert told.previous("1") == "0"

    def test_a_torn_line_is_no_harm(self, store: Store) -> None:
        self.history(store).add(Job(1, "1", "ann"), "committed")
        path = store.root / "reach" / "journal.jsonl"
        path.write_bytes(path.read_bytes() + b'{"version": "2", "sta')
        history = self.history(store)
        assert list(history.entries) == ["1"]
        history.add(Job(1, "3", "ann"), "staged")
        assert list(self.history(store).entries) == ["1", "3"]

    def test_a_disk_that_refuses(self, store: Store) -> None:
        store.root.parent.mkdir(exist_ok=True)
        store.root.write_text("not a folder")
        history = History(store, "reach")
        with pytest.raises(EngineError, match="cannot write the store"):
            history.add(Job(1, "1", "ann"), "staged")
        history.note(Job(1, "1", "ann"), "refused")


def test_prune_takes_what_failed_first_and_then_the_oldest(tmp_path: object) -> None:
    store = Store(tmp_path / "store", tmp_path / "none")  # type: ignore[operator]
    history = History(store, "reach")
    for version, state in (("1", "committed"), ("3", "committed"), ("2", "committed"), ("9", "refused")):
        (store.root / "reach" / version).mkdir(parents=True)
        (store.root / "reach" / version / "manifest.json").write_text("{}")
        history.add(Job(1, version, "ann"), state)  # type: ignore[arg-type]
    (store.root / "reach" / "hand").mkdir()
    (store.root / "reach" / "hand" / "manifest.json").write_text("{}")
    assert prune(store, "reach", history, 2, {"2"}) == ["9"]
    assert prune(store, "reach", history, 1, {"2"}) == ["1"]
    assert prune(store, "reach", history, 0, {"2"}) == ["3"]
    assert store.versions("reach") == ["2", "hand"]


def test_a_store_that_cannot_be_looked_through_is_not_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was committed is committed, whatever is in the way of tidying up after it."""
    store = Store(tmp_path / "store", tmp_path / "none")

    def refuses(*_: object) -> list[str]:
        raise EngineError("cannot read the store: Too many open files", "")

    monkeypatch.setattr(store, "versions", refuses)
    assert prune(store, "reach", History(store, "reach"), 0, set()) == []


def test_jobs_are_taken_in_order_and_ended_by_a_word() -> None:
    jobs = JobQueue()
    assert jobs.take(0.0) is None
    first, second = jobs.ask("1", "ann"), jobs.ask("2", "bob", back=True)
    assert (first.id, second.id) == (1, 2)
    assert jobs.end_active("eve") is None
    assert jobs.take(0.0) is first
    assert jobs.end_active("eve") is first
    assert (jobs.cancel.is_set(), jobs.why()) == (True, ("rolled_back", "by eve"))
    jobs.put_away(first)
    assert jobs.take(0.0) is second
    assert not jobs.cancel.is_set()
    assert jobs.end_active("eve") is None, "a way back is not ended"
    told = jobs.describe()
    assert (told["active"]["version"], told["past"][0]["job"]) == ("2", 1)
    jobs.stop()
    assert jobs.why()[0] == "stopped"
    assert jobs.take(0.0) is None


def test_an_attempt_is_ended_or_committed_never_both() -> None:
    jobs = JobQueue()
    jobs.ask("2", "ann")
    assert jobs.take(0.0) is not None
    assert jobs.begin_commit()
    with pytest.raises(RefusedError, match="being committed"):
        jobs.end_active("bob")
    assert not jobs.cancel.is_set()
    jobs.ask("3", "ann")
    assert jobs.take(0.0) is not None
    assert jobs.end_active("bob") is not None
    assert not jobs.begin_commit()
    assert jobs.why() == ("rolled_back", "by bob")
