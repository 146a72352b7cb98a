"""The flows in their database, without HTTP."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from record_presence.demo import flows as flows_module
from record_presence.demo.flows import EDITABLE, STATUSES, FlowNotFound, Flows
from record_presence.demo.people import PEOPLE
from record_presence.demo.seeds import SEEDS
from record_presence.settings import SettingError
from record_presence.versioned import RecordChanged


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/flows.sqlite3"


@pytest.fixture
def flows(url):
    flows = Flows(url)
    yield flows
    flows.close()


def values_of(flow, **changes):
    return {**{name: getattr(flow, name) for name in EDITABLE}, **changes}


def test_new_database_holds_the_seeds_each_in_its_first_version(flows):
    assert [flow.name for flow in flows.all()] == [seed.name for seed in SEEDS]
    assert {flow.lock_version for flow in flows.all()} == {1}


def test_seeds_are_flows_that_could_be_saved():
    handles = {person.handle for person in PEOPLE}
    names = {person.name for person in PEOPLE}

    assert all(seed.status in STATUSES and seed.owner in handles and seed.saved_by in names for seed in SEEDS)


def test_flows_outlive_the_process(flows, url):
    saved = flows.save(1, 1, values_of(flows.get(1), name="Kept"), by="Alice")
    other = Flows(url)

    assert other.get(1).as_data() == saved.data
    assert len(other.all()) == len(SEEDS)
    other.close()


def test_unknown_flow_is_not_found(flows):
    with pytest.raises(FlowNotFound):
        flows.get(99)
    with pytest.raises(FlowNotFound):
        flows.save(99, 1, values_of(flows.get(1)), by="Alice")


def test_refused_save_tells_what_stands_there_now(flows):
    loaded = flows.get(1)
    theirs = flows.save(1, 1, values_of(loaded, name="Theirs"), by="Alice")
    with pytest.raises(RecordChanged) as refused:
        flows.save(1, 1, values_of(loaded, steps="Mine"), by="Bob")

    assert refused.value.current == theirs.data
    assert flows.get(1).as_data() == theirs.data


def test_of_many_saves_at_once_one_wins_each_version(flows, url):
    writers = [Flows(url) for _ in range(4)]

    def save(number):
        writer = writers[number % len(writers)]
        loaded = writer.get(1)
        try:
            writer.save(1, loaded.lock_version, values_of(loaded, name=f"Save {number}"), by="Somebody")
        except RecordChanged:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        done = sum(pool.map(save, range(40)))
    for writer in writers:
        writer.close()

    assert done > 0
    assert flows.get(1).lock_version == 1 + done


def test_processes_that_start_together_fill_the_database_once(url):
    starters = [Flows(url) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        lists = list(pool.map(Flows.all, starters))
    for starter in starters:
        starter.close()

    assert {len(found) for found in lists} == {len(SEEDS)}


def test_nothing_is_opened_before_it_is_used(tmp_path):
    Flows(f"sqlite:///{tmp_path}/later.sqlite3").close()

    assert list(tmp_path.iterdir()) == []


def test_unset_url_is_a_file_of_the_instance(monkeypatch, tmp_path):
    monkeypatch.setattr(flows_module, "INSTANCE_DIRECTORY", tmp_path / "instance")
    flows = Flows(None)

    assert len(flows.all()) == len(SEEDS)
    flows.close()
    with sqlite3.connect(tmp_path / "instance/flows.sqlite3") as database:
        assert database.execute("SELECT count(*) FROM flow").fetchone() == (len(SEEDS),)
    database.close()


def test_where_no_file_can_be_written_flows_are_kept_in_memory(monkeypatch, tmp_path, caplog):
    blocked = tmp_path / "instance"
    blocked.write_text("no directory")
    monkeypatch.setattr(flows_module, "INSTANCE_DIRECTORY", blocked)
    flows = Flows(None)
    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(lambda _: flows.get(1).name, range(8)))
    flows.close()

    assert set(names) == {SEEDS[0].name}
    assert "kept in memory" in caplog.text


@pytest.mark.parametrize("url", ["nonsense", "oracle9://x", "postgres://u:p@h:port/n", "sqlite+nothing://"])
def test_url_that_can_not_be_used_stops_the_start(url):
    with pytest.raises(SettingError, match=r"^DATABASE_URL: .+") as refused:
        Flows(url)

    assert "u:p" not in str(refused.value)
