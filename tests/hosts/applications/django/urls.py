from django.contrib import admin
from django.contrib.auth import get_user_model, login, logout
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from presence_token import presence_token


def sign_in(request, user_id, name):
    user, _ = get_user_model().objects.get_or_create(
        id=user_id,
        defaults={"username": user_id, "first_name": name, "is_staff": True, "is_superuser": True},
    )
    login(request, user)
    return redirect("/orders/1")


def sign_out(request):
    logout(request)
    return HttpResponse("Signed out.")


@login_required
def order(request, order_id):
    return render(request, "order.html", {"order_id": order_id})


urlpatterns = [
    path("sign-in/<int:user_id>/<name>", sign_in),
    path("sign-out", sign_out),
    path("orders/<int:order_id>", order),
    path("presence-token", presence_token),
    path("admin/", admin.site.urls),
]
