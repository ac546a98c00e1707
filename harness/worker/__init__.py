"""The worker process: trains, evaluates and times the cells of one job."""
