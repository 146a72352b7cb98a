"""How the application is served: the WSGI entry, gunicorn's settings, timeouts and logs."""
