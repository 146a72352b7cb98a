# python import_orders.py orders.csv left.csv: what somebody is at work on is left for the next import.
import csv
import sys

from shop import Order, engine  # yours: a Versioned model, and its database
from sqlalchemy.orm import Session

from record_presence.versioned import RecordChanged, Writer, check_before_save, presence_service, save_version

with open(sys.argv[1], newline="") as source, open(sys.argv[2], "w", newline="") as rest:
    rows = csv.DictReader(source)
    left = csv.DictWriter(rest, dict.fromkeys([*rows.fieldnames, "held by"]))
    left.writeheader()
    for row in rows:
        values = {name: text for name, text in row.items() if text and name not in ("id", "held by")}
        writer = Writer(presence_service(), "order", row["id"], "import", "Import")
        with Session(engine) as db:
            order = db.get_one(Order, int(row["id"]))
            check = check_before_save(writer, values, base_version=order.lock_version)
            try:
                saved = save_version(db, order, order.lock_version, check.clear, by="Import")
            except RecordChanged as refusal:  # just now
                left.writerow({**row, "held by": refusal.saved_by})
                continue
        writer.announce(saved)
        if check.held:
            people = dict.fromkeys(name for held in check.held.values() for name in held.names)
            held_values = {name: held.value for name, held in check.held.items()}
            left.writerow({"id": row["id"], **held_values, "held by": ", ".join(people)})
