"""A worker on the queue: Celery application, tasks, the four stages with their files, heartbeat."""
