"""Saving Django's models under their version, in a real Django, on SQLite.

TEST_DATABASE=postgresql: on PostgreSQL, as `make test-hosts` does.
"""

import json
import os
import threading
from datetime import UTC, date, datetime
from decimal import Decimal

import fakeredis
import pytest

from record_presence.presence.errors import StoreUnavailable
from record_presence.presence.service import RecordPresenceService
from record_presence.redis_client.client import connect
from tests.contrib.postgresql import PostgresServer, postgresql_folder
from tests.waiting import wait_until
from tests.without_modules import run_without

DATABASE = os.environ.get("TEST_DATABASE") or "sqlite3"
django = pytest.importorskip("django")
if DATABASE == "postgresql":
    pytest.importorskip("psycopg")
from django.conf import settings  # noqa: E402

settings.configure(
    SECRET_KEY="the host's own",
    DATABASES={
        "default": {"ENGINE": f"django.db.backends.{DATABASE}", "USER": "postgres", "NAME": "postgres"}
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    LOGGING_CONFIG=None,
    USE_TZ=True,
)
django.setup()

from django.core.exceptions import ImproperlyConfigured, PermissionDenied  # noqa: E402
from django.db import IntegrityError, connection, models, transaction  # noqa: E402
from django.test import RequestFactory  # noqa: E402
from django.test.utils import override_settings  # noqa: E402

from record_presence.contrib.django import (  # noqa: E402
    AnswerRefusals,
    FieldsClaimed,
    FieldsContested,
    RecordChanged,
    RecordDeleted,
    Versioned,
    Writer,
    check_before_save,
    presence_service,
    save_version,
    writer_of,
)
from record_presence.safe_writes import connection as redis_of_service  # noqa: E402
from record_presence.safe_writes.writer import announcements  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def allow_an_event_loop():
    """The process of these tests may have had tests in Chromium before, whose event loop still runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield


NO_REDIS = "redis://127.0.0.1:1"


class Customer(models.Model):
    name = models.CharField(max_length=100)

    class Meta:
        app_label = "shop"


class Order(Versioned):
    title = models.CharField(max_length=100, default="")
    note = models.TextField(blank=True, default="")
    due = models.DateTimeField(null=True)
    price = models.DecimalField(max_digits=9, decimal_places=2, null=True)
    paid = models.BooleanField(default=False)
    tags = models.JSONField(default=list)
    customer = models.ForeignKey(Customer, models.PROTECT, null=True)

    class Meta:
        app_label = "shop"


class User:
    """As Django's own, without its tables."""

    is_authenticated = True

    def __init__(self, pk, name):
        self.pk, self._name = pk, name

    def get_full_name(self):
        return ""

    def get_username(self):
        return self._name


@pytest.fixture
def presence():
    return RecordPresenceService(fakeredis.FakeRedis(server=fakeredis.FakeServer()), 1, timeline_seconds=600)


@pytest.fixture(scope="module", autouse=True)
def server():
    if DATABASE == "sqlite3":
        yield
        return
    folder = postgresql_folder()
    if folder is None:
        pytest.skip("PostgreSQL is missing: apt-get install postgresql")
    server = PostgresServer(folder)
    connection.settings_dict["HOST"] = server.socket_folder
    yield
    server.close()


@pytest.fixture(autouse=True)
def database(tmp_path, presence):
    if DATABASE == "sqlite3":
        connection.settings_dict["NAME"] = str(tmp_path / "shop.sqlite3")
    with connection.schema_editor() as editor:
        for model in (Customer, Order):
            editor.create_model(model)
    Customer.objects.create(id=3, name="Acme")
    Order.objects.create(id=7, title="Sale")
    with override_settings(RECORD_PRESENCE_SERVICE=lambda tenant: presence):
        yield
    with connection.schema_editor() as editor:
        for model in (Order, Customer):
            editor.delete_model(model)
    connection.close()


@pytest.fixture
def bob():
    return writer_of(User(43, "Bob"), "order", 7, tab_id="b1")


@pytest.fixture
def alice(presence):
    """Alice has the order open, with an unsaved note; `alice("title")`: with this unsaved."""

    def edit(*dirty):
        presence.update_presence("order", 7, "a1", 42, "Alice", "edit", bool(dirty), dirty_fields=dirty)

    edit("note")
    return edit


def order():
    return Order.objects.get(id=7)


def saves(presence):
    return [
        (entry["lock_version"], entry["fields"], entry["user"]["name"])
        for entry in presence.get_timeline("order", 7).entries
        if entry["kind"] == "saved"
    ]


def test_save_makes_the_next_version_and_the_viewers_are_told(presence, alice, bob):
    row = order()
    saved = save_version(row, 1, {"title": "Big sale", "price": "1.50", "customer": "3"}, bob)

    assert (saved.lock_version, saved.fields) == (2, ["title", "price", "customer"])
    assert saved.data == order().as_data() == row.as_data()
    assert (row.title, row.price, row.customer.name) == ("Big sale", Decimal("1.50"), "Acme")
    assert datetime.fromisoformat(saved.data["saved_at"]).tzinfo
    assert (saved.data["saved_by"], saved.data["customer"], saved.data["price"]) == ("Bob", 3, "1.50")
    assert json.dumps(saved.data)
    assert saves(presence) == [(2, ["customer", "price", "title"], "Bob")]
    assert (saved.check.clear, saved.check.contested) == (["title", "price", "customer"], {})


def test_values_that_are_stored_already_make_no_version(presence, alice, bob):
    due = datetime(2026, 12, 24, 12, tzinfo=UTC)
    acme = Customer.objects.get(id=3)
    first = {"due": due, "price": Decimal(2), "note": "a\nb", "tags": [{"a": 1, "b": 2}], "customer": acme}
    save_version(order(), 1, first, bob)
    again = {
        "due": "2026-12-24T13:00+01:00",
        "price": "2.0",
        "note": "a\r\nb",
        "tags": [{"b": 2, "a": 1}],
        "customer_id": 3,
        "paid": "False",
    }
    saved = save_version(order(), 2, again, bob)

    assert (saved.lock_version, saved.fields, saved.check) == (2, [], None)
    assert len(saves(presence)) == 1
    emptied = save_version(order(), 2, {"due": None, "tags": [True], "title": "Sale"}, bob)
    assert emptied.fields == ["due", "tags"]
    assert save_version(order(), 3, {"due": "", "price": "2"}, bob).fields == []
    assert save_version(order(), 3, {"tags": [1]}, bob).fields == ["tags"]


def test_old_version_is_refused_with_what_stands_there_now(presence, bob):
    row = order()
    save_version(order(), 1, {"note": "theirs"}, bob)
    with pytest.raises(RecordChanged, match=r"^Bob saved version 2 in the meantime\.$") as refused:
        save_version(row, 1, {"note": "mine", "title": "Sale"}, bob)

    assert (refused.value.fields, refused.value.current) == (["note"], order().as_data())
    assert (row.note, row.lock_version) == ("", 1)


def test_plain_save_of_an_old_version_is_refused_too():
    mine, theirs = order(), order()
    theirs.note, theirs.saved_by = "theirs", "Alice"
    theirs.save(update_fields=["note"])
    assert (order().lock_version, order().saved_by, theirs.lock_version) == (2, "Alice", 2)
    theirs.save()
    mine.title = "mine"
    with pytest.raises(RecordChanged) as refused:
        mine.save()

    assert (refused.value.fields, refused.value.lock_version, mine.lock_version) == (["title", "note"], 3, 1)
    assert order().title == "Sale"
    with pytest.raises(IntegrityError), transaction.atomic():
        Order(id=7, title="over it").save()
    theirs.delete()
    with pytest.raises(RecordDeleted):
        save_version(mine, 3, {}, None)


def test_save_between_our_select_and_our_update_is_seen(presence, bob):
    """Somebody else saves, or deletes, while Redis is asked."""

    class Meanwhile(Writer):
        def check(self, fields, base_version=None):
            meanwhile()
            return super().check(fields, base_version)

    writer = Meanwhile(presence, "order", 7, 43, "Bob")
    meanwhile = lambda: save_version(order(), 1, {"note": "theirs"}, bob)  # noqa: E731
    with pytest.raises(RecordChanged) as refused:
        save_version(order(), 1, {"note": "ours", "title": "Sale", "paid": True}, writer)
    assert (refused.value.fields, order().note, order().paid) == (["note", "paid"], "theirs", False)

    meanwhile = lambda: order().delete()  # noqa: E731
    with pytest.raises(RecordDeleted):
        save_version(order(), 2, {"note": "ours"}, writer)
    assert not Order.objects.exists()


def test_of_many_who_save_one_version_at_once_one_wins(presence):
    start, outcomes = threading.Barrier(6), []

    def save(number):
        writer = Writer(presence, "order", 7, number, f"User {number}")
        row = order()
        start.wait()
        try:
            outcomes.append(save_version(row, 1, {"note": str(number)}, writer).data["note"])
        except RecordChanged as refusal:
            outcomes.append(refusal.lock_version)
        finally:
            connection.close()

    threads = [threading.Thread(target=save, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(map(str, outcomes)) == sorted([order().note, *"22222"])
    assert order().lock_version == 2


def test_viewers_are_told_on_commit_and_not_of_what_was_rolled_back(presence, alice, bob):
    with transaction.atomic():
        save_version(order(), 1, {"title": "never"}, bob)
        transaction.set_rollback(True)
    assert (saves(presence), order().title) == ([], "Sale")

    told = []
    alice("title")
    with transaction.atomic():
        save_version(order(), 1, {"title": "Big sale"}, bob, on_announced=told.append)
        assert (saves(presence), told) == ([], [])
    assert saves(presence) == [(2, ["title"], "Bob")]
    [result] = told
    assert result
    assert [viewer["name"] for viewer in result.touched["title"]] == ["Alice"]


def test_claimed_and_contested_fields_refuse_where_the_host_wants_it(presence, alice, bob):
    presence.claim_field("order", 7, "a1", 42, "note")
    with pytest.raises(FieldsClaimed, match=r"^Alice has claimed note\.$"):
        save_version(order(), 1, {"note": "mine", "title": "mine"}, bob, claims="refuse")
    with pytest.raises(FieldsContested, match=r"^Alice has unsaved changes in note\.$"):
        save_version(order(), 1, {"note": "mine", "title": "mine"}, bob, contested="refuse")
    assert (order().lock_version, order().title) == (1, "Sale")

    job = Writer(presence, "order", 7, "nightly", "Nightly job")
    check = check_before_save(job, {"note": "job's", "title": "job's"}, base_version=1)
    saved = save_version(order(), 1, check.clear, job, claims="refuse", contested="refuse")
    assert (saved.fields, order().note, check.held["note"].names) == (["title"], "", ["Alice"])
    assert save_version(order(), 2, {"note": "mine"}, bob).check.claimed["note"]["tab_id"] == "a1"


def test_without_redis_nothing_is_written_unknowingly_unless_it_is_advice(presence, alice, monkeypatch):
    away = RecordPresenceService(connect(NO_REDIS), 1, timeline_seconds=600)
    writer = Writer(away, "order", 7, 43, "Bob")
    with pytest.raises(StoreUnavailable):
        save_version(order(), 1, {"note": "mine"}, writer, claims="refuse")
    assert order().lock_version == 1

    monkeypatch.setattr(announcements, "_first_retry_delay_seconds", 0.02)
    assert save_version(order(), 1, {"note": "mine"}, writer).check is None
    assert order().note == "mine"
    assert len(announcements) == 1
    away._redis = presence._redis  # it is back
    wait_until(lambda: saves(presence) == [(2, ["note"], "Bob")])


def test_middleware_answers_in_the_envelope(presence, alice, bob):
    presence.claim_field("order", 7, "a1", 42, "note")

    def answer(status, **options):
        row = order()
        with pytest.raises(Exception) as refused:  # noqa: PT011
            save_version(row, options.pop("lock_version", 1), {"note": "mine"}, **{"writer": bob, **options})
        request = RequestFactory().put("/orders/7")
        response = AnswerRefusals(lambda request: None).process_exception(request, refused.value)
        assert (response.status_code, response["Cache-Control"]) == (status, "no-store")
        body = json.loads(response.content)
        assert (body["success"], bool(body["message"])) == (False, True)
        return body.get("data"), response

    data, _ = answer(423, claims="refuse")
    assert (data["claim"]["field"], data["claim"]["user"]["name"]) == ("note", "Alice")
    data, _ = answer(409, contested="refuse")
    assert [viewer["name"] for viewer in data["contested"]["note"]] == ["Alice"]
    data, _ = answer(409, lock_version=0)
    assert (data["current"]["title"], data["fields"]) == ("Sale", ["note"])
    answer(409, writer=Writer(presence, "order", 7, 43, "Bob", "a1"), claims="refuse")
    away = RecordPresenceService(connect(NO_REDIS), 1, timeline_seconds=600)
    _, response = answer(503, writer=Writer(away, "order", 7, 43, "Bob"), claims="refuse")
    assert int(response["Retry-After"]) > 0
    assert AnswerRefusals(lambda request: None).process_exception(None, ZeroDivisionError()) is None


def test_host_says_who_writes_and_where_redis_is(monkeypatch):
    assert writer_of(User(date(2026, 1, 2), "Eve"), "order", 7).user_id == "2026-01-02"
    nobody = User(None, "")
    nobody.is_authenticated = False
    with pytest.raises(PermissionDenied):
        writer_of(nobody, "order", 7)
    monkeypatch.setattr(settings, "RECORD_PRESENCE_SERVICE", None)
    redis_of_service._connection.cache_clear()
    for url, line in (("", "REDIS_URL: is not set"), ("http://x", "REDIS_URL: ")):
        monkeypatch.setenv("REDIS_URL", url)
        with pytest.raises(ImproperlyConfigured, match=line):
            presence_service()
    monkeypatch.setenv("REDIS_URL", NO_REDIS)
    assert presence_service() is presence_service("1")
    with pytest.raises(StoreUnavailable):
        check_before_save(writer_of(User(1, "Eve"), "order", 7), {"note": ""})
    redis_of_service._connection.cache_clear()
    redis_of_service.presence_service.cache_clear()


def test_neither_flask_nor_sqlalchemy_is_needed_but_django_is():
    ready = "import django\nfrom django.conf import settings\nsettings.configure()\ndjango.setup()\n"
    code = "import record_presence.contrib.django as host\nprint(host.save_version.__name__)"
    run = run_without("flask", "sqlalchemy", "gunicorn", "fakeredis", "gevent", code=ready + code)
    assert (run.stdout, run.stderr) == ("save_version\n", "")

    run = run_without("django", code=code)
    assert run.stderr.endswith("needs Django: pip install 'record-presence[django]'\n")
