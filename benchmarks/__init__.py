"""Measurements of the whole product: public API in, `manage.py runworkers` out."""
