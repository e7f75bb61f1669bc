"""What does the work: the four stages, the Celery application, the dispatcher, the fleets."""
