"""One machine's processes: embedded broker, ingress, coordinator and workers. See supervise.py."""
