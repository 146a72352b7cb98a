# python write_note.py 7: an agent rewrites a note. Everybody sees it come, and it runs over nobody.
import os
import sys
from uuid import uuid4

import requests
from shop import load_order, rewrite, save_order  # yours

order_id, tab_id = sys.argv[1], f"agent-{uuid4()}"
headers = {"Authorization": f"Bearer {os.environ['PRESENCE_TOKEN']}"}


def call(method, path, **body):
    url = f"https://presence.example.com/api/v1/presence/order/{order_id}/{path}"
    answer = requests.request(method, url, json={"tab_id": tab_id, **body}, headers=headers, timeout=5)
    answer.raise_for_status()  # also 503: while nobody knows who is there, nothing is written
    return answer.json()["data"]


call("POST", "heartbeat", mode="edit", dirty=False, active_field="note")  # holds for a minute
try:
    order = load_order(order_id)
    is_claimed = call("POST", "claim", field="note")["claimed"]  # then others see who is on it
    check = call("POST", "check", fields=["note"], base_version=order["lock_version"])
    if is_claimed and check["clear"]:
        save_order(order_id, order["lock_version"], note=rewrite(order["note"]), tab_id=tab_id)
    else:
        print("The note is left alone:", {name: check[name] for name in ("claimed", "contested", "stale")})
finally:
    call("DELETE", "unregister")
