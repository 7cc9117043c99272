"""Many files: find them, plan, run, resume, verify."""

WORKER_MODULE = f"{__name__}.tasks"  # what worker processes run, by name: importing it takes time
