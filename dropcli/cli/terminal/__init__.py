"""What terminals show: tables, help, messages, progress."""
