"""Django's own tests for tasks, fetched with pip and run against our backends.

    python -m pytest tests/django_suite/contract.py

They belong to Django, so they are fetched when asked for and never kept here; a plain
`pytest` does not collect them.
"""
