# A job in the night: closes what was delivered, but no order that somebody is at work on.
from shop import Order, engine  # yours: a Versioned model, and its database
from sqlalchemy import select
from sqlalchemy.orm import Session

from record_presence.versioned import (
    FieldsHeld,
    RecordChanged,
    RecordDeleted,
    Writer,
    presence_service,
    save_version,
)

with Session(engine) as db:
    order_ids = db.scalars(select(Order.id).where(Order.state == "delivered")).all()

for order_id in order_ids:
    job = Writer(presence_service(), "order", order_id, "nightly-job", "Nightly job")
    with Session(engine) as db:
        order = db.get(Order, order_id)
        if order is None or order.state != "delivered":  # meanwhile
            continue
        values = {"state": "closed", "note": f"{order.note}\nClosed at night."}
        options = {"by": job.user_name, "writer": job, "claims": "refuse", "contested": "refuse"}
        try:
            saved = save_version(db, order, order.lock_version, values, **options)
        except (FieldsHeld, RecordChanged, RecordDeleted) as refusal:
            print(f"order {order_id} is left for the next run: {refusal}")
        else:
            job.announce(saved)
