from django.contrib import admin
from django.db import models


class Order(models.Model):
    title = models.CharField(max_length=100)
    note = models.TextField()


admin.site.register(Order)
