# pip install PyJWT, and in urls.py:
#     from .presence_token import presence_token
#     path("presence-token", presence_token),
import os
import time

import jwt
from django.http import HttpResponse


def presence_token(request):
    """A token of five minutes for the user who is signed in."""
    user = request.user
    if not user.is_authenticated:
        return HttpResponse("Sign in first.", status=401, content_type="text/plain")
    claims = {
        "sub": user.pk if isinstance(user.pk, int) else str(user.pk),
        "name": user.get_full_name() or user.get_username(),
        "tenant": "1",
        "exp": int(time.time()) + 300,
    }
    token = jwt.encode(claims, os.environ["PRESENCE_JWT_KEY"], algorithm="HS256")
    return HttpResponse(token, content_type="text/plain", headers={"Cache-Control": "no-store"})
