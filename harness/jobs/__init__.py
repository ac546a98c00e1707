"""What parent and worker process share: the job, its environment, its record."""
