"""What people see in a terminal: tables, help, messages, progress."""
