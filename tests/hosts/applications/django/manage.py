"""A Django project in one file: an editor at /orders/7, and the admin at /admin.

`python manage.py runserver` also makes the tables, with orders in them.
"""

import os
import sys
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command, execute_from_command_line

settings.configure(
    SECRET_KEY="the host's own",
    DEBUG=True,
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF="urls",
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "django.contrib.staticfiles",
        "shop",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": [Path("templates").absolute()],
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "host.sqlite3"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    STATIC_URL="/static/",
    USE_THOUSAND_SEPARATOR=True,
)

if __name__ == "__main__":
    if not os.path.exists("host.sqlite3"):
        django.setup()
        call_command("migrate", run_syncdb=True, verbosity=0)
        from shop.models import Order

        Order.objects.bulk_create(
            Order(id=number, title="Spring sale", note="Call first") for number in range(1, 2000)
        )
    execute_from_command_line(sys.argv)
