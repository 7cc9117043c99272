"""Many files: find them, plan, run, resume, verify."""
