"""The recorders need the frameworks whose results they record; the tests do not."""

collect_ignore_glob = ["record_*.py"]
